//! Where an adapter's matrices lie.
//!
//! The A matrices of projections with the same input lie below each other, `[ranks, inputs]`, each with its rank rounded
//! up to 8, so that one product gives all their low-rank inputs: `low = x A^T`. It is written beside x, and since the
//! weights have `s B` beside them, `[x | low] [W | s B]^T` is the output. What rounding up adds is zero in A and in B, and
//! stays zero.

use tabpo_model::{INPUT_GROUPS, LoraConfig, ModelConfig};

use crate::weights::Places;

/// Ranks are rounded up to this one by one, so that every part is aligned.
const RANK: usize = 8;
/// The sum of the ranks of a group is rounded up to this.
const ROOM: usize = 64;

/// The adapter of one projection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    /// The first of its outputs among those of its group.
    pub(crate) output: usize,
    /// `[outputs, inputs]` of the projection.
    pub(crate) shape: [usize; 2],
    /// The first of its columns in the group's room.
    pub(crate) offset: usize,
    pub(crate) rank: usize,
    pub(crate) scale: f32,
    /// Its A among the parameters, `[rank, inputs]`.
    pub(crate) a: u64,
    /// Its B among the parameters, `[outputs, width]`.
    pub(crate) b: u64,
}

impl Member {
    /// The rank, rounded up.
    pub(crate) fn width(&self) -> usize {
        self.rank.next_multiple_of(RANK)
    }
}

/// The adapters of the projections with one input.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// The A matrices among the parameters, `[ranks, inputs]`.
    pub(crate) a: u64,
    /// Ranks, each rounded up.
    pub(crate) ranks: usize,
    /// The copy of the A matrices that products read, `[room, inputs]`, among the copies.
    pub(crate) copy: u64,
    pub(crate) members: Vec<Member>,
}

/// The layout of an adapter.
#[derive(Clone, Debug)]
pub(crate) struct AdapterLayout {
    /// The groups of every block, in the order of [`INPUT_GROUPS`].
    pub(crate) blocks: Vec<[Group; 4]>,
    /// The room of every group, the same in all blocks.
    pub(crate) rooms: [usize; 4],
    /// Numbers of all parameters, in single precision.
    pub(crate) parameters: u64,
    /// Numbers of all copies, in the kernels' type.
    pub(crate) copies: u64,
}

impl AdapterLayout {
    pub(crate) fn new(config: &ModelConfig, adapter: &LoraConfig) -> Self {
        let targets = |group: usize| {
            INPUT_GROUPS[group].iter().copied().filter(|projection| adapter.targets.contains(projection))
        };
        let rank = |projection, layer| adapter.rank_and_scale(projection, layer).0.next_multiple_of(RANK);
        let ranks = |group, layer| targets(group).map(|projection| rank(projection, layer)).sum::<usize>();
        let room = |group| (0..config.layers).map(|layer| ranks(group, layer)).max().unwrap_or(0);
        let rooms = [0, 1, 2, 3].map(|group| room(group).next_multiple_of(ROOM));
        let (mut parameters, mut copies) = (Places::default(), Places::default());
        let mut group = |group: usize, layer: usize| {
            let inputs = INPUT_GROUPS[group][0].shape(config)[1];
            let ranks = ranks(group, layer);
            let a = parameters.next(ranks * inputs);
            let (mut offset, mut output, mut members) = (0, 0, Vec::new());
            for &projection in INPUT_GROUPS[group] {
                let shape = projection.shape(config);
                if adapter.targets.contains(&projection) {
                    let (rank, scale) = adapter.rank_and_scale(projection, layer);
                    let mut member = Member {
                        output,
                        shape,
                        offset,
                        rank,
                        scale: scale as f32,
                        a: a + (offset * inputs) as u64,
                        b: 0,
                    };
                    member.b = parameters.next(shape[0] * member.width());
                    offset += member.width();
                    members.push(member);
                }
                output += shape[0];
            }
            Group { a, ranks, copy: copies.next(rooms[group] * inputs), members }
        };
        let blocks = (0..config.layers).map(|layer| [0, 1, 2, 3].map(|index| group(index, layer))).collect();
        Self { blocks, rooms, parameters: parameters.length(), copies: copies.length() }
    }
}
