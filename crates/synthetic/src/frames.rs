//! Sentence frames of the synthetic corpus.
//!
//! A frame's words are separated by blanks. `a|b` stands for one of its alternatives, `_` for
//! nothing, `+` for a blank inside an alternative. A digit is a slot; `a0` and `the0` put an article
//! before it; `=0` repeats the words of slot 0 without annotating them.
//!
//! Both text orders of a directed relation occur, with cue words that tell them apart (`for`,
//! `using`, `based on`, `such as`, ...) and some that do not (`of` is a feature or a part).

use super::RelationType::{self, Compare, Conjunction, EvaluateFor, FeatureOf, HyponymOf, PartOf, UsedFor};

/// What may fill a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A Task, often with a process head.
    Task,
    /// A Method.
    Method,
    /// A Metric.
    Metric,
    /// A Material.
    Material,
    /// Any `OtherScientificTerm` without a special head.
    Term,
    /// An `OtherScientificTerm` whose head is a property.
    Property,
    /// An `OtherScientificTerm` whose head is a part.
    Part,
    /// Generic for a method.
    Generic,
    /// Generic for a method in subject position, sometimes a pronoun.
    Anaphor,
    /// Generic for a task.
    GenericTask,
    /// Generic for a material.
    GenericMaterial,
    /// The same kind as an earlier slot.
    Like(usize),
    /// A head that Task and Method share, in a context that does not tell which: either label.
    Process,
    /// The same for Method and `OtherScientificTerm`.
    Structure,
    /// The same for Material and `OtherScientificTerm`.
    Signal,
}

use Kind::{
    Anaphor, Generic, GenericMaterial, GenericTask, Like, Material, Method, Metric, Part, Process, Property, Signal,
    Structure, Task, Term,
};

/// A sentence with slots.
pub(super) struct Frame {
    /// How often it is drawn, relative to the others.
    pub(super) weight: u32,
    /// The words, see above.
    pub(super) words: &'static str,
    /// For each slot, equally likely kinds; a head shared by two labels is used for the first only,
    /// so that frame and head together decide the label.
    pub(super) slots: &'static [&'static [Kind]],
    /// (head slot, type, tail slot).
    pub(super) relations: &'static [(usize, RelationType, usize)],
}

const fn frame(
    weight: u32,
    words: &'static str,
    slots: &'static [&'static [Kind]],
    relations: &'static [(usize, RelationType, usize)],
) -> Frame {
    Frame { weight, words, slots, relations }
}

/// All frames.
pub(super) const FRAMES: &[Frame] = &[
    // Used-for, head first.
    frame(18, "we propose|present|describe|introduce a0 for 1", &[&[Method], &[Task, Term]], &[(0, UsedFor, 1)]),
    frame(8, "we develop|design a0 to solve|support|improve 1", &[&[Method], &[Task, GenericTask]], &[(0, UsedFor, 1)]),
    frame(
        8,
        "the0 is|can+be|has+been used|applied|employed for|in 1",
        &[&[Method, Material, Generic], &[Task, Term]],
        &[(0, UsedFor, 1)],
    ),
    frame(14, "we apply|use|employ 0 to|for 1", &[&[Method, Term], &[Task, Term, Material]], &[(0, UsedFor, 1)]),
    frame(8, "0 is applied|adapted|extended to 1", &[&[Anaphor], &[Task, Term, GenericTask]], &[(0, UsedFor, 1)]),
    frame(
        7,
        "0 helps|allows|makes+it+possible to capture|model|represent 1",
        &[&[Anaphor], &[Term]],
        &[(0, UsedFor, 1)],
    ),
    frame(
        5,
        "given 0 , we estimate|extract|infer 1 with 2",
        &[&[Material], &[Term], &[Method]],
        &[(0, UsedFor, 1), (2, UsedFor, 1)],
    ),
    frame(
        5,
        "the0 provides|offers|contains useful 1 for 2",
        &[&[Material, GenericMaterial], &[Term], &[Task, Term]],
        &[(0, UsedFor, 2), (1, UsedFor, 2)],
    ),
    // Used-for, tail first.
    frame(
        9,
        "here|first|next , 0 is performed|carried+out|achieved using|with|by a1",
        &[&[Task], &[Method]],
        &[(1, UsedFor, 0)],
    ),
    frame(
        14,
        "we describe|propose|present a0 based+on|that+uses|which+exploits 1",
        &[&[Method], &[Term, Term, Method, Material]],
        &[(1, UsedFor, 0)],
    ),
    frame(
        12,
        "0 uses|exploits|relies+on 1 to improve|support 2",
        &[&[Anaphor], &[Term, Method, Material], &[Task, Term]],
        &[(1, UsedFor, 0), (0, UsedFor, 2)],
    ),
    frame(8, "0 is based|built on 1", &[&[Anaphor], &[Method, Term]], &[(1, UsedFor, 0)]),
    frame(
        7,
        "here|usually|often , 0 is|are learned|obtained|computed by|through|via 1",
        &[&[Term], &[Method]],
        &[(1, UsedFor, 0)],
    ),
    frame(8, "for 0 , we use|propose|adopt|develop a1", &[&[Task], &[Method, Generic]], &[(1, UsedFor, 0)]),
    frame(7, "0 is trained|learned|estimated on|from 1", &[&[Anaphor], &[Material]], &[(1, UsedFor, 0)]),
    frame(7, "we detect|extract|recover 0 from 1", &[&[Term], &[Material]], &[(1, UsedFor, 0)]),
    frame(6, "to solve|address|approach 0 , we use|build a1", &[&[GenericTask], &[Method]], &[(1, UsedFor, 0)]),
    frame(3, "we treat|view|formulate 0 as 1", &[&[Task], &[Term]], &[(1, UsedFor, 0)]),
    frame(
        5,
        "in 0 , a1 is often|commonly used to represent|model 2",
        &[&[Task], &[Method], &[Term]],
        &[(1, UsedFor, 0), (1, UsedFor, 2)],
    ),
    // Used-for with an unannotated occurrence of the same words before the mention.
    frame(3, "unlike any+other =0 , the0 requires|needs|uses 1", &[&[Method], &[Term]], &[(1, UsedFor, 0)]),
    // Evaluate-for.
    frame(
        6,
        "0 is evaluated|tested|validated on 1",
        &[&[Anaphor], &[Material, GenericMaterial]],
        &[(1, EvaluateFor, 0)],
    ),
    frame(
        6,
        "we evaluate|test 0 on 1 in+terms+of 2",
        &[&[Generic, Method], &[Material], &[Metric]],
        &[(1, EvaluateFor, 0), (2, EvaluateFor, 0)],
    ),
    frame(
        7,
        "the0 of 1 is|was improved|reduced|doubled significantly|by+a+large+margin",
        &[&[Metric], &[Method, Generic]],
        &[(0, EvaluateFor, 1)],
    ),
    frame(
        7,
        "0 achieves|obtains|reaches high|better|competitive 1 on 2",
        &[&[Anaphor], &[Metric], &[Material]],
        &[(1, EvaluateFor, 0), (2, EvaluateFor, 0)],
    ),
    frame(
        4,
        "a0 for 1 is|was tested|evaluated on 2",
        &[&[Method], &[Task], &[Material]],
        &[(0, UsedFor, 1), (2, EvaluateFor, 0)],
    ),
    frame(
        5,
        "the0 is used to evaluate|measure|assess 1",
        &[&[Metric, Material], &[Method, Task]],
        &[(0, EvaluateFor, 1)],
    ),
    frame(
        5,
        "by using|adding 0 , we increase|improve the1 of 2",
        &[&[Term, Method], &[Metric], &[Generic]],
        &[(0, UsedFor, 2), (1, EvaluateFor, 2)],
    ),
    // Hyponym-of, general first, then special first.
    frame(
        13,
        "some|many|most 0 , such+as|including|like 1 , are hard|expensive|useful|common to+use|to+obtain|_",
        &[&[Term, Method, Task, Material], &[Like(0)]],
        &[(1, HyponymOf, 0)],
    ),
    frame(
        5,
        "the0 is a+kind|a+type|a+special+case|an+example of 1",
        &[&[Term, Method, Material, Task], &[Like(0)]],
        &[(0, HyponymOf, 1)],
    ),
    frame(3, "we use|adopt 0 , a+simple|a+recent|one 1", &[&[Method, Term], &[Like(0)]], &[(0, HyponymOf, 1)]),
    // Part-of.
    frame(
        7,
        "the0 consists+of|is+made+up+of|contains a1 and a2",
        &[&[Method], &[Part, Term], &[Part]],
        &[(1, PartOf, 0), (2, PartOf, 0), (1, Conjunction, 2)],
    ),
    frame(
        6,
        "a0 is|serves+as a+component|a+part|a+module of 1",
        &[&[Method, Part], &[Method, Generic]],
        &[(0, PartOf, 1)],
    ),
    frame(6, "the0 of 1 is unknown|important|fixed|changed", &[&[Part], &[Method, Term]], &[(0, PartOf, 1)]),
    // Feature-of; "of" alone does not tell it from Part-of.
    frame(
        6,
        "the0 of 1 is unknown|important|fixed|changed",
        &[&[Property], &[Material, Method, Term]],
        &[(0, FeatureOf, 1)],
    ),
    frame(2, "the0 of 1 is unknown|important|fixed|changed", &[&[Term], &[Method]], &[(0, FeatureOf, 1)]),
    frame(1, "the0 of 1 is unknown|important|fixed|changed", &[&[Term], &[Method]], &[(0, PartOf, 1)]),
    frame(4, "we consider|analyse|study 0 with 1", &[&[Material, Term], &[Property]], &[(1, FeatureOf, 0)]),
    frame(3, "we observe|study 0 in 1", &[&[Term], &[Material]], &[(0, FeatureOf, 1)]),
    // Compare.
    frame(
        8,
        "0 outperforms|is+better+than|is+faster+than|is+as+good+as the1",
        &[&[Anaphor], &[Method, Generic]],
        &[(0, Compare, 1)],
    ),
    frame(
        5,
        "compared with|to 0 , the1 is simpler|slower|more+robust|more+general",
        &[&[Method], &[Method]],
        &[(0, Compare, 1)],
    ),
    frame(4, "we compare 0 with|to|and 1", &[&[Method, Generic], &[Method]], &[(0, Compare, 1)]),
    frame(
        1,
        "we compare 0 with|to|and 1 on 2",
        &[&[Method], &[Method], &[Material]],
        &[(0, Compare, 1), (2, EvaluateFor, 0), (2, EvaluateFor, 1)],
    ),
    // Conjunction.
    frame(
        7,
        "we combine|integrate 0 and|with 1 for 2",
        &[&[Method, Term], &[Like(0)], &[Task, GenericTask]],
        &[(0, Conjunction, 1), (0, UsedFor, 2), (1, UsedFor, 2)],
    ),
    frame(3, "applications include|range+from 0 and|to 1", &[&[Task], &[Task]], &[(0, Conjunction, 1)]),
    frame(
        5,
        "both 0 and 1 are needed|important|useful for 2",
        &[&[Term, Material], &[Like(0)], &[Task, Generic]],
        &[(0, Conjunction, 1), (0, UsedFor, 2), (1, UsedFor, 2)],
    ),
    frame(
        3,
        "we also look+at|consider|discuss 0 , 1 and 2",
        &[&[Term, Task], &[Like(0)], &[Like(0)]],
        &[(0, Conjunction, 1), (1, Conjunction, 2)],
    ),
    frame(4, "we report|measure 0 and|as+well+as 1", &[&[Metric], &[Metric]], &[(0, Conjunction, 1)]),
    // Mentions without relation.
    frame(6, "recent|previous|much|early work|research has+focused+on|dealt+with|looked+at 0", &[&[Task, Term]], &[]),
    frame(
        7,
        "however|but|still , 0 is|remains hard|expensive|poorly+understood|a+challenge",
        &[&[Task, Term, Generic]],
        &[],
    ),
    frame(6, "we|the+authors also|_ discuss|analyse|study 0", &[&[Term, Generic, Material]], &[]),
    frame(
        5,
        "while 0 is well+understood|common|easy , 1 is not|remains+open|is+hard",
        &[&[Task, Term], &[Term, GenericTask]],
        &[],
    ),
    frame(3, "we make|made 0 freely|publicly available", &[&[GenericMaterial, Material, Generic]], &[]),
    frame(3, "0 is easy|simple|fast and|but general|flexible|limited", &[&[Anaphor]], &[]),
    // Contexts that leave the label open.
    frame(
        7,
        "we report|describe|summarise our+work|our+experience|progress on 0",
        &[&[Process, Structure, Signal, Process]],
        &[],
    ),
    frame(
        5,
        "another|a+further|one topic|theme|aspect is|concerns 0 and+its+relation+to|rather+than 1",
        &[&[Process, Structure, Signal], &[Term]],
        &[],
    ),
    // No mention at all.
    frame(
        8,
        "experimental|empirical|preliminary|first|our results|experiments|tests|findings show|suggest|indicate|demonstrate that|clearly+that the+idea|the+intuition|it|this works+well|is+promising|is+practical|is+sound|holds+up",
        &[],
        &[],
    ),
    frame(
        6,
        "the+paper|this+paper|this+article|our+report|the+authors discusses+the|outlines+the|reviews+the|explains+the implications|limits|motivation|background|consequences|lessons of|behind this+work|the+idea|these+findings|the+study",
        &[],
        &[],
    ),
];
