//! A card behind a pretended driver: `pretend/*.c` has the functions of NVIDIA's libraries over the host's memory, so that
//! everything between `Driver` and these libraries runs on machines without a card.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use std::sync::Arc;

use tabpo_cuda::arena::ArenaPlan;
use tabpo_cuda::check;
use tabpo_cuda::compiler::Architecture;
use tabpo_cuda::driver::{Address, Argument, Card, Driver, DriverError, Launch};
use tabpo_cuda::library::Search;
use tabpo_cuda::module::Module;
use tempfile::TempDir;

/// A folder with the libraries, compiled with these definitions.
struct Pretended {
    folder: TempDir,
}

impl Pretended {
    fn new(definitions: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory can be made");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pretend");
        for (source, library) in [("cuda.c", "libcuda.so.1"), ("cublaslt.c", "libcublasLt.so.13")] {
            // Rust links its own programs with it, so it is there.
            let status = Command::new("cc")
                .args(["-std=gnu11", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
                .arg(folder.path().join(library))
                .arg(sources.join(source))
                .args(definitions)
                .status()
                .expect("there is a C compiler");
            assert!(status.success(), "{source} compiles");
        }
        Self { folder }
    }

    fn search(&self) -> Search {
        Search::within(vec![self.folder.path().to_owned()])
    }

    fn open(&self) -> Result<Card, DriverError> {
        Card::open_with(&self.search(), 0, |device, _| {
            assert_eq!(device.architecture, Architecture::new(9, 0));
            let code = b"\x7fELF\x02\x01".to_vec();
            let kernels = vec!["fill_f32".to_owned()];
            Ok(vec![Module { name: "fill", architecture: device.architecture, code, kernels, compiled: false }])
        })
    }

    fn library(&self, name: &str) -> libloading::Library {
        // SAFETY: the library is ours and does nothing when it is loaded.
        unsafe { libloading::Library::new(self.folder.path().join(name)) }.expect("it was compiled")
    }
}

fn fill(address: Address, count: u32, threads: u32, shared: u32, card: &Card) -> Result<(), DriverError> {
    let arguments =
        [Argument::Address(address), Argument::U32(count), Argument::F32(0.5), Argument::U64(2), Argument::I32(-3)];
    card.launch(&Launch { kernel: "fill_f32", grid: [4, 1, 1], threads, shared, arguments: &arguments })
}

/// Every operation of the border, and everything is given back at the end.
#[test]
fn a_card_does_what_it_is_asked_and_leaves_nothing_behind() {
    let pretended = Pretended::new(&[]);
    // Keeps the libraries' counters until they are read.
    let libraries = ["libcuda.so.1", "libcublasLt.so.13"].map(|library| pretended.library(library));
    let card = Arc::new(pretended.open().expect("it opens"));
    assert_eq!((card.name().as_str(), card.kernels()), ("Pretended card 0", vec!["fill_f32"]));
    let shared: Arc<dyn Driver> = card.clone();
    let mut plan = ArenaPlan::default();
    let (first, second) = (plan.reserve(1000), plan.reserve(2048));
    let before = card.memory().expect("it is known");
    let arena = plan.allocate(&shared).expect("there is room");
    assert_eq!(before.free - card.memory().expect("it is known").free, arena.bytes());
    let (first, second) = (arena.address(first), arena.address(second));
    assert_eq!((first.0 % 256, second.0 - first.0), (0, 1024));

    card.upload(first, &[7; 1000]).expect("it is inside");
    card.copy(second, first, 500).expect("it is inside");
    card.clear(second.offset(100), 100).expect("it is inside");
    let mut bytes = vec![1; 500];
    card.download(second, &mut bytes).expect("it is inside");
    let wanted: Vec<u8> = (0..500).map(|at| if (100..200).contains(&at) { 0 } else { 7 }).collect();
    assert_eq!(bytes, wanted);

    // Arguments of every kind arrive, and more shared memory than usual is asked for.
    card.clear(second, 2048).expect("it is inside");
    let time = card.timed(|| fill(second, 200, 64, 100 << 10, &card)).expect("it runs");
    assert_eq!(time.as_micros(), 1500);
    let mut bytes = vec![1; 2048];
    card.download(second, &mut bytes).expect("it is inside");
    let numbers: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
    let wanted: Vec<f32> = (0..512).map(|at| if at % 2 == 0 && at < 400 { -2.5 } else { 0.0 }).collect();
    assert_eq!(numbers, wanted);

    // From another thread as well.
    std::thread::scope(|scope| {
        scope.spawn(|| fill(second, 1, 32, 0, &card).expect("it runs"));
    });
    card.wait().expect("it is there");
    drop((arena, shared));
    let living = || {
        libraries.each_ref().map(|library| {
            // SAFETY: the symbol is a function without arguments that returns an `int`.
            unsafe { library.get::<unsafe extern "C" fn() -> i32>("pretend_living").expect("it has the function")() }
        })
    };
    assert!(living().iter().all(|&count| count > 0));
    drop(card);
    assert_eq!(living(), [0, 0]);
}

#[test]
fn the_checks_pass_on_a_card_that_computes_rightly_and_fail_on_one_that_does_not() {
    let pretended = Pretended::new(&[]);
    let mut told = 0;
    let card = pretended.open().expect("it opens");
    let outcomes = check::run_without_kernels(&card, 3, &mut |_| told += 1).expect("the card survives");
    assert_eq!(told, outcomes.len());
    for outcome in &outcomes {
        assert!(outcome.passed(), "{outcome:?}");
    }
    assert!(outcomes.len() > 30);
    let free = card.memory().expect("it is known");
    check::run_without_kernels(&card, 4, &mut |_| {}).expect("the card survives");
    assert_eq!(card.memory().expect("it is known"), free, "checks give their memory back");

    let wrong = Pretended::new(&["-DWRONG"]);
    let card = wrong.open().expect("it opens");
    let outcomes = check::run_without_kernels(&card, 3, &mut |_| {}).expect("the card survives");
    for outcome in outcomes {
        assert_eq!(outcome.passed(), outcome.name.starts_with("memory"), "{outcome:?}");
    }
}

#[test]
fn launches_that_do_not_suit_the_kernel_are_refused_before_they_start() {
    let pretended = Pretended::new(&[]);
    let card = pretended.open().expect("it opens");
    let refused = |launch: Launch<'_>| card.launch(&launch).expect_err("refused").to_string();
    let sound =
        [Argument::Address(Address(0)), Argument::U32(0), Argument::F32(0.0), Argument::U64(1), Argument::I32(0)];
    let launch = Launch { kernel: "fill_f32", grid: [1, 1, 1], threads: 32, shared: 0, arguments: &sound };
    card.launch(&launch).expect("it runs");
    assert_eq!(refused(Launch { kernel: "fill_f64", ..launch }), "there is no kernel `fill_f64`");
    for (launch, part) in [
        (Launch { arguments: &sound[..4], ..launch }, "4 arguments for 5 parameters"),
        (Launch { arguments: &[sound[0], sound[3], sound[2], sound[3], sound[4]], ..launch }, "argument 1 has 8 bytes"),
        (Launch { grid: [0, 1, 1], ..launch }, "0 x 1 x 1 blocks"),
        (Launch { grid: [1, 65536, 1], ..launch }, "65536"),
        (Launch { threads: 48, ..launch }, "48 threads"),
        (Launch { threads: 1024, ..launch }, "at most 512"),
    ] {
        let error = refused(launch);
        assert!(error.contains(part) && error.contains("`fill_f32`"), "{error}");
    }
    let error = refused(Launch { shared: 300 << 10, ..launch });
    assert!(error.contains("307200 bytes of shared memory"), "{error}");
}

#[test]
fn a_full_a_lost_and_an_old_card_are_told_apart() {
    let small = Pretended::new(&["-DMEMORY=50000000"]);
    let card = small.open().expect("the workspace fits");
    let error = card.allocate(20_000_000).expect_err("it is full");
    assert!(matches!(error, DriverError::OutOfMemory { asked: 20_000_000, total: 50_000_000, .. }), "{error}");
    assert!(error.hint().expect("there is one").contains("max_tokens"));

    let lost = Pretended::new(&["-DLOST"]);
    let card = lost.open().expect("it opens");
    let address = card.allocate(256).expect("there is room");
    fill(address, 1, 32, 0, &card).expect("a launch returns before its kernel has run");
    let error = card.wait().expect_err("the kernel failed");
    assert!(matches!(&error, DriverError::Lost(text) if text.contains("ILLEGAL_ADDRESS")), "{error}");
    assert!(error.hint().expect("there is one").contains("checkpoint"));
    drop(card);

    for (definition, part) in [("-DVERSION=12020", "CUDA 12.2, not 12.4"), ("-DCARDS=0", "shows no card")] {
        let error = Pretended::new(&[definition]).open().err().expect("it doesn't open").to_string();
        assert!(error.contains(part), "{error}");
    }
    let pretended = Pretended::new(&["-DCARDS=2"]);
    let error =
        Card::open_with(&pretended.search(), 2, |_, _| Ok(Vec::new())).err().expect("there is none").to_string();
    assert!(error.contains("cards 0 to 1"), "{error}");
}
