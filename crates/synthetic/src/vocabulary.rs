//! Words of the synthetic corpus.
//!
//! A term is one or two stems and a head noun. Stems say nothing about the label; every label uses
//! all of them. Half of the head nouns belong to one label, the others are shared by two, so that
//! only the context decides.

/// Stems: modifiers of terms.
pub(super) const STEMS: &[&str] = &[
    "acoustic",
    "active",
    "adaptive",
    "additive",
    "affine",
    "aligned",
    "analog",
    "angular",
    "annotated",
    "anchored",
    "atomic",
    "audio",
    "augmented",
    "balanced",
    "banded",
    "binary",
    "blended",
    "blind",
    "bounded",
    "bursty",
    "calibrated",
    "canonical",
    "causal",
    "chained",
    "chromatic",
    "circular",
    "clausal",
    "coarse",
    "coded",
    "coherent",
    "compact",
    "compiled",
    "complex",
    "composite",
    "compressed",
    "concave",
    "conditional",
    "conical",
    "connected",
    "conserved",
    "contextual",
    "continuous",
    "contrastive",
    "convex",
    "coupled",
    "cross-modal",
    "cubic",
    "curved",
    "damped",
    "dense",
    "dependent",
    "derived",
    "diagonal",
    "differential",
    "diffuse",
    "digital",
    "directed",
    "discrete",
    "distant",
    "distributed",
    "dual",
    "dynamic",
    "early",
    "elastic",
    "embedded",
    "empirical",
    "entropic",
    "episodic",
    "ergodic",
    "exact",
    "expressive",
    "facial",
    "factored",
    "fibrous",
    "filtered",
    "finite",
    "fluent",
    "folded",
    "formal",
    "fractal",
    "frontal",
    "fused",
    "fuzzy",
    "gated",
    "gaussian",
    "geodesic",
    "geometric",
    "global",
    "granular",
    "graphic",
    "greedy",
    "gridded",
    "harmonic",
    "hashed",
    "heuristic",
    "hidden",
    "holistic",
    "hybrid",
    "implicit",
    "indexed",
    "induced",
    "inertial",
    "infinite",
    "inner",
    "integral",
    "interactive",
    "invariant",
    "inverse",
    "isotropic",
    "iterative",
    "joint",
    "kinetic",
    "labelled",
    "lagged",
    "laminar",
    "latent",
    "lattice",
    "layered",
    "lexical",
    "linear",
    "local",
    "logical",
    "lossy",
    "lumped",
    "magnetic",
    "mapped",
    "marginal",
    "masked",
    "matched",
    "metric-free",
    "mixed",
    "mobile",
    "modal",
    "modular",
    "monotone",
    "morphic",
    "mutual",
    "narrow",
    "natural",
    "nested",
    "neural",
    "nodal",
    "noisy",
    "nominal",
    "normal",
    "numeric",
    "oblique",
    "online",
    "optical",
    "ordered",
    "orthogonal",
    "oscillating",
    "outer",
    "overt",
    "packed",
    "pairwise",
    "parallel",
    "parametric",
    "partial",
    "passive",
    "patched",
    "periodic",
    "phonetic",
    "phrasal",
    "planar",
    "plural",
    "polar",
    "pooled",
    "pragmatic",
    "precise",
    "primal",
    "prosodic",
    "proximal",
    "pruned",
    "quadratic",
    "quantal",
    "quiet",
    "radial",
    "random",
    "ranked",
    "rational",
    "reactive",
    "recurrent",
    "reduced",
    "referential",
    "regional",
    "regular",
    "relational",
    "residual",
    "resonant",
    "reverse",
    "rhythmic",
    "rigid",
    "robust",
    "rotated",
    "sampled",
    "scalar",
    "scattered",
    "segmental",
    "semantic",
    "semi-local",
    "sequential",
    "serial",
    "shallow",
    "shared",
    "shifted",
    "singular",
    "skewed",
    "smooth",
    "sparse",
    "spatial",
    "spectral",
    "spherical",
    "spoken",
    "stable",
    "static",
    "stochastic",
    "structural",
    "stylistic",
    "sublinear",
    "symbolic",
    "syntactic",
    "tabular",
    "tactile",
    "temporal",
    "tensor",
    "textual",
    "thermal",
    "tonal",
    "topical",
    "tropical",
    "uniform",
    "unary",
    "variable",
    "verbal",
    "vertical",
    "visual",
    "volumetric",
    "weighted",
    "written",
];

/// A stem that is only put before a term that is a mention in its own right: the longer mention
/// holds the shorter one.
pub(super) const NESTING_STEM: &str = "cascaded";

/// Head nouns that are Task or Method; the biased annotator always sees a Method.
pub(super) const PROCESS_HEADS: &[&str] = &[
    "parsing",
    "learning",
    "segmentation",
    "detection",
    "recognition",
    "translation",
    "tracking",
    "classification",
    "clustering",
    "retrieval",
    "generation",
    "tagging",
    "alignment",
    "analysis",
    "estimation",
    "synthesis",
];
/// Head nouns that are Method or `OtherScientificTerm`; the biased annotator always sees the latter.
pub(super) const STRUCTURE_HEADS: &[&str] = &["representation", "grammar", "rule", "mapping", "template", "transform"];
/// Head nouns that are Material or `OtherScientificTerm`; the biased annotator always sees the latter.
pub(super) const SIGNAL_HEADS: &[&str] = &["text", "speech", "sequence", "video", "language"];
/// Head nouns that are Metric or `OtherScientificTerm`; the biased annotator always sees the latter.
pub(super) const QUANTITY_HEADS: &[&str] = &["rate", "cost", "quality"];

/// Head nouns of tasks alone.
pub(super) const TASK_HEADS: &[&str] = &["task", "problem", "application"];
/// Head nouns of methods alone.
pub(super) const METHOD_HEADS: &[&str] = &[
    "model",
    "algorithm",
    "network",
    "classifier",
    "method",
    "approach",
    "system",
    "framework",
    "parser",
    "kernel",
    "technique",
    "filter",
    "architecture",
];
/// Head nouns of materials alone.
pub(super) const MATERIAL_HEADS: &[&str] =
    &["corpus", "data", "dataset", "images", "treebank", "documents", "lexicon", "recordings"];
/// Head nouns of metrics alone.
pub(super) const METRIC_HEADS: &[&str] = &["accuracy", "precision", "recall", "score", "error", "runtime"];
/// Head nouns of other scientific terms alone.
pub(super) const TERM_HEADS: &[&str] = &[
    "features",
    "constraint",
    "parameters",
    "information",
    "dependencies",
    "context",
    "knowledge",
    "noise",
    "motion",
    "patterns",
    "ambiguity",
    "variables",
    "concept",
    "cues",
];
/// Head nouns of properties: other scientific terms that belong to something.
pub(super) const PROPERTY_HEADS: &[&str] = &["size", "shape", "distribution", "structure", "complexity"];
/// Head nouns of parts: other scientific terms that something is made of.
pub(super) const PART_HEADS: &[&str] = &["layer", "node", "component", "boundary", "region"];

/// General words that stand for a method.
pub(super) const GENERIC_METHODS: &[&str] =
    &["method", "method", "approach", "approach", "system", "model", "algorithm", "technique", "framework"];
/// General words that stand for a task.
pub(super) const GENERIC_TASKS: &[&str] = &["task", "problem", "application"];
/// General words that stand for a material.
pub(super) const GENERIC_MATERIALS: &[&str] = &["corpus", "data", "dataset"];
/// What precedes a general word and makes it refer to something.
pub(super) const DETERMINERS: &[&str] = &["the", "the", "this", "our", "the proposed", "the new"];

/// What may open a sentence.
pub(super) const OPENERS: &[&str] = &[
    "in this paper ,",
    "in addition ,",
    "furthermore ,",
    "finally ,",
    "specifically ,",
    "in particular ,",
    "then ,",
    "moreover ,",
    "as a result ,",
    "in this way ,",
    "to this end ,",
];
/// What may close a sentence.
pub(super) const CLOSERS: &[&str] = &[
    "in practice",
    "in many cases",
    "in our experiments",
    "with little effort",
    "at the same time",
    "in a new way",
    "without supervision",
    "in real time",
    "in detail",
    "for the first time",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_are_two_hundred_and_forty_distinct_stems() {
        let distinct: HashSet<&str> = STEMS.iter().copied().collect();
        assert_eq!((distinct.len(), STEMS.len()), (240, 240));
        assert!(!distinct.contains(NESTING_STEM));
    }

    #[test]
    fn exclusive_heads_belong_to_one_label() {
        let lists = [
            PROCESS_HEADS,
            STRUCTURE_HEADS,
            SIGNAL_HEADS,
            QUANTITY_HEADS,
            TASK_HEADS,
            METHOD_HEADS,
            MATERIAL_HEADS,
            METRIC_HEADS,
            TERM_HEADS,
            PROPERTY_HEADS,
            PART_HEADS,
        ];
        let all: Vec<&str> = lists.concat();
        let distinct: HashSet<&str> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len());
    }
}
