//! `tabpo gpu`: NVIDIA cards of this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tabpo_cuda::check::{self, ModelSize, Outcome};
use tabpo_cuda::compiler::{Architecture, Compiler};
use tabpo_cuda::driver::{Card, Device, Driver, DriverError, Element, System, products_library};
use tabpo_cuda::kernels::SOURCES;
use tabpo_cuda::library::Search;
use tabpo_cuda::module::{self, Store};
use tabpo_report::{Alignment, Table};

use crate::{
    error::{CliError, ResultExt},
    output::{self, Context},
    range, tables, writing,
};

/// Arguments of `tabpo gpu`.
#[derive(clap::Args)]
pub(crate) struct GpuArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Show cards, driver and libraries, or what is missing and what brings it
    Info {
        /// Write JSON
        #[arg(long)]
        json: bool,
    },
    /// Compile the kernels ahead of their first use; needs NVIDIA's compiler, but no card
    Compile(CompileArgs),
    /// Run every operation and small models on a card and compare the results with the CPU's
    Check(CheckArgs),
    /// Measure what bounds everything on a card: how fast it copies and multiplies
    Speed(SpeedArgs),
}

#[derive(clap::Args)]
struct SpeedArgs {
    /// Number of the card
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = range::Whole::new(0, 255).parser::<usize>())]
    card: usize,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct CompileArgs {
    /// Architecture of the card, such as sm_90; may be repeated [default: that of the first card]
    #[arg(long = "arch", value_name = "ARCH", value_parser = architecture)]
    architectures: Vec<Architecture>,
    /// Folder for the machine code, for machines without the compiler: set TABPO_KERNELS to it there [default: the cache]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct CheckArgs {
    /// Number of the card
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = range::Whole::new(0, 255).parser::<usize>())]
    card: usize,
    /// Check single operations only, no models
    #[arg(long)]
    operations: bool,
    /// Seed of the random input [default: another one each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

fn architecture(text: &str) -> Result<Architecture, String> {
    text.parse()
}

/// Runs the command.
pub(crate) fn run(arguments: &GpuArgs, context: &Context) -> Result<(), CliError> {
    match &arguments.action {
        Action::Info { json } => info(*json),
        Action::Compile(arguments) => compile(arguments, context),
        Action::Check(arguments) => run_checks(arguments, context),
        Action::Speed(arguments) => speed(arguments),
    }
}

/// An error of a card or of what it needs, with what would help.
fn failed(error: &DriverError) -> CliError {
    let hint = error.hint();
    let error = CliError::failed(error.to_string());
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// A part of what a card needs: its name, what was found, and the same for JSON.
struct Part {
    name: &'static str,
    text: Result<String, DriverError>,
    json: Value,
}

impl Part {
    fn new(name: &'static str, found: Result<(String, Value), DriverError>) -> Self {
        match found {
            Ok((text, json)) => Self { name, text: Ok(text), json },
            Err(error) => {
                let json = json!({"error": error.to_string(), "hint": error.hint()});
                Self { name, text: Err(error), json }
            }
        }
    }
}

fn info(as_json: bool) -> Result<(), CliError> {
    let search = Search::of_this_machine();
    let system = System::open(&search);
    let newest = system.as_ref().ok().map(|system| system.version().major);
    let (cards, driver) = match system {
        Ok(system) => {
            let (version, path) = (system.version(), system.path().display());
            let found =
                (format!("CUDA {version} ({path})"), json!({"cuda": version.to_string(), "file": path.to_string()}));
            (system.devices(), Part::new("driver", Ok(found)))
        }
        Err(error) => (Ok(Vec::new()), Part::new("driver", Err(error))),
    };
    let compiler = Compiler::open(&search, newest).map(|compiler| {
        let (version, path) = (compiler.version(), compiler.path().display());
        (format!("NVRTC {version} ({path})"), json!({"version": version.to_string(), "file": path.to_string()}))
    });
    let products = products_library(&search, newest).map(|(version, path)| {
        let path = path.display();
        (format!("cuBLASLt {version} ({path})"), json!({"version": version, "file": path.to_string()}))
    });
    let parts = [driver, Part::new("compiler", compiler), Part::new("products", products)];
    let store = Store::of_this_machine();
    let (of_cards, no_cards) = match cards {
        Ok(cards) => (cards, None),
        Err(error) => (Vec::new(), Some(error)),
    };
    if as_json {
        let mut all = serde_json::Map::new();
        all.insert("cards".to_owned(), of_cards.iter().map(described).collect());
        for part in parts {
            all.insert(part.name.to_owned(), part.json);
        }
        if let Some(error) = no_cards {
            all.insert("no_cards".to_owned(), json!({"error": error.to_string(), "hint": error.hint()}));
        }
        all.insert("kernels".to_owned(), json!({"folder": store.folder(), "given": matches!(store, Store::Given(_))}));
        return output::print_json(&all);
    }
    let mut lines = Vec::new();
    for Device { index, name, capability, memory, multiprocessors, .. } in &of_cards {
        let gibibytes = *memory as f64 / f64::from(1 << 30);
        lines.push(format!(
            "card {index}    {name}, compute capability {capability}, {gibibytes:.1} GiB, {multiprocessors} multiprocessors"
        ));
    }
    let errors = parts.into_iter().map(|part| (part.name, part.text));
    for (name, text) in errors.chain(no_cards.map(|error| ("cards", Err(error)))) {
        match text {
            Ok(text) => lines.push(format!("{name:<9} {text}")),
            Err(error) => {
                lines.push(format!("{name:<9} {error}"));
                lines.extend(error.hint().map(|hint| format!("{:<9} hint: {hint}", "")));
            }
        }
    }
    lines.push(match &store {
        Store::Given(folder) => format!("kernels   taken from {} ({})", folder.display(), module::VARIABLE),
        Store::Cache(folder) => format!("kernels   compiled at first use and kept in {}", folder.display()),
        Store::None => "kernels   compiled at every start: there is no cache folder".to_owned(),
    });
    output::print_line(lines.join("\n"))
}

fn described(device: &Device) -> Value {
    json!({
        "card": device.index,
        "name": device.name,
        "compute_capability": device.capability.to_string(),
        "memory_bytes": device.memory,
        "multiprocessors": device.multiprocessors,
    })
}

fn compile(arguments: &CompileArgs, context: &Context) -> Result<(), CliError> {
    let search = Search::of_this_machine();
    // Machine code for the card of this machine has to suit its driver; for another machine, any compiler will do.
    let (architectures, newest) = if arguments.architectures.is_empty() {
        let first = System::open(&search).and_then(|system| Ok((system.devices()?.swap_remove(0), system.version())));
        let (device, version) = first.map_err(|error| {
            CliError::failed(error.to_string()).with_hint("say for which card to compile, such as `--arch sm_90`")
        })?;
        (vec![device.architecture], Some(version.major))
    } else {
        (arguments.architectures.clone(), None)
    };
    let folder = match (&arguments.out, Store::of_this_machine()) {
        (Some(folder), _) => {
            writing::check_folder(folder)?;
            folder.clone()
        }
        (None, Store::Cache(folder)) => folder,
        (None, _) => return Err(CliError::input("there is no cache folder").with_hint("name a folder with `--out`")),
    };
    let compiler = Compiler::open(&search, newest).map_err(|error| failed(&error))?;
    let columns = [
        ("Architecture", Alignment::Left),
        ("File", Alignment::Left),
        ("Kernels", Alignment::Right),
        ("Most registers", Alignment::Right),
        ("Spilled bytes", Alignment::Right),
        ("Code bytes", Alignment::Right),
    ];
    let (mut table, mut files) = (Table::new(columns), Vec::new());
    for architecture in architectures {
        context.say(format!("compiling for {architecture} with NVRTC {}", compiler.version()));
        for (module, usage) in module::compile(&compiler, SOURCES, architecture).map_err(|error| failed(&error))? {
            let source = *SOURCES.iter().find(|source| source.name == module.name).expect("it was compiled from it");
            let path = folder.join(module::file_name(source, architecture));
            module::write(&path, &module, source, &compiler).or_failed()?;
            let registers = usage.iter().map(|usage| usage.registers).max().unwrap_or(0);
            let spilled: u32 = usage.iter().map(|usage| usage.spilled).sum();
            table.push([
                architecture.to_string(),
                module.name.to_owned(),
                usage.len().to_string(),
                registers.to_string(),
                spilled.to_string(),
                module.code.len().to_string(),
            ]);
            let kernel = |usage: &tabpo_cuda::compiler::Usage| json!({"name": usage.kernel, "registers": usage.registers, "spilled_bytes": usage.spilled});
            files.push(json!({
                "architecture": architecture.to_string(),
                "file": path,
                "code_bytes": module.code.len(),
                "kernels": usage.iter().map(kernel).collect::<Vec<_>>(),
            }));
        }
    }
    if arguments.json {
        return output::print_json(&json!({"nvrtc": compiler.version().to_string(), "files": files}));
    }
    output::print(&tables::shown(&table))?;
    output::print_line(written(&folder, arguments.out.is_some()))
}

fn written(folder: &Path, given: bool) -> String {
    let folder = folder.display();
    if given {
        format!("written to {folder}; a machine without the compiler uses it with {}={folder}", module::VARIABLE)
    } else {
        format!("kept in {folder}")
    }
}

/// Bytes of a timed copy.
const COPIED: usize = 512 << 20;

fn speed(arguments: &SpeedArgs) -> Result<(), CliError> {
    let card = Card::open(&Search::of_this_machine(), &Store::of_this_machine(), arguments.card);
    let card = Arc::new(card.map_err(|error| failed(&error))?);
    let driver: Arc<dyn Driver> = Arc::clone(&card) as Arc<dyn Driver>;
    let copied = check::copy_gigabytes(&driver, COPIED).map_err(|error| failed(&error))?;
    let product = |element| check::product_gflops(&driver, element).map_err(|error| failed(&error));
    let (bf16, f32) = (product(Element::Bf16)?, product(Element::F32)?);
    if arguments.json {
        return output::print_json(&json!({
            "card": described(card.device()),
            "copy_gigabytes_per_second": copied,
            "product_gflops": {"bf16": bf16, "f32": f32},
        }));
    }
    output::print_line(format!(
        "card {} ({}): copies at {copied:.0} GB/s, read and written together; products of 8192 at {:.0} TFLOP/s in bf16, \
         {:.0} in f32",
        arguments.card,
        card.name(),
        bf16 / 1e3,
        f32 / 1e3
    ))
}

fn run_checks(arguments: &CheckArgs, context: &Context) -> Result<(), CliError> {
    let card = Card::open(&Search::of_this_machine(), &Store::of_this_machine(), arguments.card);
    let card = Arc::new(card.map_err(|error| failed(&error))?);
    let driver: Arc<dyn Driver> = Arc::clone(&card) as Arc<dyn Driver>;
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    let seed = arguments.seed.unwrap_or_else(clock);
    context.say(format!("checking card {} ({}), --seed {seed}", arguments.card, card.name()));
    let word = |outcome: &Outcome| if outcome.passed() { "PASS" } else { "FAIL" };
    let mut shown = Ok(());
    let mut tell = |outcome: &Outcome| {
        if !arguments.json && shown.is_ok() {
            let Outcome { name, error, limit } = outcome;
            shown = output::print_line(format!("{}  {name}: {error:.1e} (limit {limit:.0e})", word(outcome)));
        }
    };
    let mut outcomes = check::run(driver.as_ref(), seed, &mut tell).map_err(|error| failed(&error))?;
    if !arguments.operations {
        for size in [ModelSize::Tiny, ModelSize::Wide] {
            outcomes.extend(check::run_models(&driver, seed, size, &mut tell).or_failed()?);
        }
    }
    shown?;
    let wrong = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    if arguments.json {
        let entry = |outcome: &Outcome| json!({"name": outcome.name, "error": outcome.error, "limit": outcome.limit, "passed": outcome.passed()});
        output::print_json(&json!({
            "card": described(card.device()),
            "seed": seed,
            "failed": wrong,
            "checks": outcomes.iter().map(entry).collect::<Vec<_>>(),
        }))?;
    } else {
        output::print_line(format!("{} checks, {wrong} failed", outcomes.len()))?;
    }
    match wrong {
        0 => Ok(()),
        count => Err(CliError::failed(format!("{count} checks failed on card {} ({})", arguments.card, card.name()))
            .with_hint("please report this with the output of `tabpo gpu check --json` and `tabpo gpu info`")),
    }
}
