//! Embeddings forward, and their gradient over tokens that occur more than once.

use crate::common::Random;
use tabpo_cuda::driver::Element;
use tabpo_emulate::arguments;
use tabpo_emulate::trial::{assert_close, in_every_order};

#[test]
fn embeddings() {
    for element in [Element::F32, Element::Bf16] {
        let suffix = element.suffix();
        let (vocabulary, width) = (11, 72);
        let tokens = [3_u32, 10, 3, 0, 10, 3, 7];
        // Rows by token: the host sorts them, and keeps the order of a token's rows.
        let distinct = [0_u32, 3, 7, 10];
        let (bounds, rows) = ([0_u32, 1, 4, 5, 7], [3_u32, 0, 2, 5, 6, 1, 4]);
        let mut random = Random::new(8);
        let (table, dx) = (random.values(vocabulary * width), random.values(tokens.len() * width));
        let before = random.values(vocabulary * width);
        let results = in_every_order(|trial| {
            let (table, dx) = (trial.put(element, &table), trial.put(element, &dx));
            let (x, gradient) = (trial.room(element, tokens.len() * width), trial.put(Element::F32, &before));
            let before = trial.get(gradient);
            let tokens_there = trial.put_u32(&tokens);
            let forward = arguments![table, tokens_there, width, x];
            trial.launch(&format!("embed_forward_{suffix}"), [tokens.len(), 1, 1], 32, 0, forward);
            let [distinct_there, bounds, rows] = [&distinct[..], &bounds, &rows].map(|list| trial.put_u32(list));
            let backward = arguments![dx, distinct_there, bounds, rows, width, gradient];
            let grid = [distinct.len(), width.div_ceil(32 * 16 / element.bytes()), 1];
            trial.launch(&format!("embed_backward_{suffix}"), grid, 32, 0, backward);
            [trial.get(table), trial.get(dx), before, trial.get(x), trial.get(gradient)].to_vec()
        });
        let [table, dx, before, x, gradient] = &results[..] else { unreachable!() };
        let wanted = tokens.iter().flat_map(|&token| table[token as usize * width..][..width].to_vec());
        assert_eq!(*x, wanted.collect::<Vec<_>>());
        let mut wanted = before.clone();
        for (dx, &token) in dx.chunks(width).zip(&tokens) {
            for (sum, dx) in wanted[token as usize * width..].iter_mut().zip(dx) {
                *sum += dx;
            }
        }
        assert_close("gradient", Element::F32, gradient, &wanted);
    }
}
