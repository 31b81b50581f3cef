//! Contrast of the page's colours, in light, in dark and on paper: the ratios that WCAG 2.2 asks of level AA (success
//! criteria 1.4.3 and 1.4.11), computed from the style sheets.

use std::collections::BTreeMap;

const COLOURS: &str = include_str!("../assets/colours.css");
const PAPER: &str = include_str!("../assets/paper.css");
const RULES: [&str; 5] = [
    include_str!("../assets/page.css"),
    include_str!("../assets/tables.css"),
    include_str!("../assets/charts.css"),
    include_str!("../assets/spans.css"),
    include_str!("../assets/texts.css"),
];

type Rgb = [f64; 3];
type Palette = BTreeMap<String, Rgb>;
/// A colour and its ground.
type Pairs = Vec<(String, String)>;

/// The variables of a block with their colours.
fn variables(block: &str) -> Palette {
    let colour = |text: &str| {
        let digits = text.trim().strip_prefix('#')?;
        let part = |at: usize| Some(f64::from(u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?));
        Some([part(0)?, part(2)?, part(4)?])
    };
    let declarations = block.split(';').filter_map(|one| one.split_once(':'));
    declarations
        .filter_map(|(name, value)| Some((name.trim().strip_prefix("--")?.to_owned(), colour(value)?)))
        .collect()
}

/// The block that follows the nth `:root` of a style sheet.
fn root(sheet: &str, index: usize) -> &str {
    let block = sheet.split(":root {").nth(index + 1).expect("there is such a block");
    block.split('}').next().expect("it ends")
}

fn palettes() -> [(&'static str, Palette); 3] {
    let light = variables(root(COLOURS, 0));
    let mut dark = light.clone();
    dark.extend(variables(root(COLOURS, 1)));
    [("light", light), ("dark", dark), ("paper", variables(root(PAPER, 0)))]
}

/// What a style sheet writes as a colour: `var(--x)`, or `color-mix(in srgb, A p%, B)`, where `calc(var(--v) * p%)` stands
/// for its largest value.
fn evaluate(text: &str, palette: &Palette) -> Rgb {
    let text = text.trim();
    if let Some(name) = text.strip_prefix("var(--") {
        let name = name.strip_suffix(')').expect("a variable");
        return *palette.get(name).unwrap_or_else(|| panic!("there is no colour {name}"));
    }
    let inside = text.strip_prefix("color-mix(in srgb, ").and_then(|rest| rest.strip_suffix(')')).expect("a mix");
    let comma = ["%, ", "%), "].iter().filter_map(|end| inside.find(end)).min().expect("a share");
    let (first, second) = inside.split_at(comma);
    let second = second.trim_start_matches(['%', ')', ',', ' ']);
    let (colour, share) = first.split_once(") ").expect("a colour and its share");
    let share: f64 = share.trim_start_matches("calc(var(--v) * ").parse().expect("a share in percent");
    let (one, other) = (evaluate(&format!("{colour})"), palette), evaluate(second, palette));
    std::array::from_fn(|part| one[part] * share / 100.0 + other[part] * (1.0 - share / 100.0))
}

/// Relative luminance of WCAG 2.2.
fn luminance(colour: Rgb) -> f64 {
    let linear = colour.map(|part| {
        let part = part / 255.0;
        if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

fn ratio(one: Rgb, other: Rgb) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// Grounds that are mixed, as the style sheets write them.
const MIXED: [&str; 8] = [
    "color-mix(in srgb, var(--line) 32%, var(--ground))",
    "color-mix(in srgb, var(--right) 34%, var(--card))",
    "color-mix(in srgb, var(--bad) 28%, var(--card))",
    "color-mix(in srgb, var(--heat) calc(var(--v) * 75%), color-mix(in srgb, var(--line) 38%, var(--card)))",
    "color-mix(in srgb, var(--right) calc(var(--v) * 55%), var(--card))",
    "color-mix(in srgb, var(--accent) calc(var(--v) * 30%), var(--ground))",
    "color-mix(in srgb, var(--accent) calc(var(--v) * 45%), var(--card))",
    "color-mix(in srgb, var(--heat) calc(var(--v) * 75%), var(--card))",
];
/// The ground of a highlighted span, in the colour of its label.
const SPAN: &str = "color-mix(in srgb, var(--own) 20%, var(--card))";

/// Text and ground, then the edges of controls and ground.
fn pairs() -> (Pairs, Pairs) {
    let variable = |name: &str| format!("var(--{name})");
    let mut text: Pairs = Vec::new();
    for (colour, grounds) in [
        ("ink", &["ground", "card", "warning", "better-ground", "worse-ground", "grey", "grey-light"][..]),
        ("muted", &["ground", "card"]),
        ("accent", &["ground", "card"]),
        ("good", &["ground", "card"]),
        ("bad", &["ground", "card"]),
        ("better", &["ground"]),
        ("worse", &["ground"]),
        ("ground", &["ink"]),
    ] {
        text.extend(grounds.iter().map(|ground| (variable(colour), variable(ground))));
    }
    text.extend(MIXED.iter().map(|ground| (variable("ink"), (*ground).to_owned())));
    text.push((variable("muted"), MIXED[0].to_owned()));
    for own in ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "grey"] {
        text.push((variable("ink"), SPAN.replace("--own", &format!("--{own}"))));
        if own != "grey" {
            text.push((variable("on-colour"), variable(own)));
        }
    }
    let mut edges: Pairs = Vec::new();
    for ground in ["ground", "card"] {
        edges.extend(["edge", "accent", "bad"].map(|edge| (variable(edge), variable(ground))));
    }
    edges.extend((0..8).map(|own| (variable(&format!("c{own}")), variable("card"))));
    (text, edges)
}

#[test]
fn text_and_controls_have_enough_contrast() {
    let (text, edges) = pairs();
    let mut low = Vec::new();
    for (name, palette) in palettes() {
        for (pairs, least) in [(&text, 4.5), (&edges, 3.0)] {
            for (colour, ground) in pairs {
                let ratio = ratio(evaluate(colour, &palette), evaluate(ground, &palette));
                if ratio < least {
                    low.push(format!("{name}: {colour} on {ground}: {ratio:.2}, but at least {least}"));
                }
            }
        }
    }
    assert!(low.is_empty(), "{}", low.join("\n"));
}

#[test]
fn the_mixed_grounds_are_those_of_the_style_sheets() {
    let sheets = RULES.concat();
    for ground in MIXED.iter().chain([&SPAN]) {
        assert!(sheets.contains(&format!("background: {ground};")), "{ground}");
    }
    // All grounds that the sheets mix are known here.
    for rule in sheets.split("background: color-mix(").skip(1) {
        let value = format!("color-mix({}", rule.split(';').next().unwrap());
        assert!(MIXED.contains(&value.as_str()) || value == SPAN, "{value}");
    }
}

#[test]
fn ratios_are_those_of_the_definition() {
    let grey = [119.0; 3];
    assert!((ratio([0.0; 3], [255.0; 3]) - 21.0).abs() < 1e-9);
    // A well-known pair that just fails.
    assert!((ratio(grey, [255.0; 3]) - 4.48).abs() < 0.01);
    let palette = variables("--a: #000000; --b: #ffffff;");
    assert_eq!(evaluate("color-mix(in srgb, var(--a) 25%, var(--b))", &palette), [191.25; 3]);
}
