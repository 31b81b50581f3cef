//! The emulator finds the mistakes that a card would hide most of the time: each is planted in a kernel that is sound
//! without it (`broken/mistakes.cu`), and has to be refused in every order of threads.

use crate::common::Random;
use tabpo_cuda::driver::{Argument, Driver, DriverError, Element, Launch, Operand, Product};
use tabpo_emulate::trial::{Trial, assert_close, in_every_order};
use tabpo_emulate::{Emulator, Order, arguments};

const TILES: usize = 3;
const BLOCKS: usize = 2;
/// 128 numbers and 4 sums of warps.
const SHARED: usize = 132 * 4;

fn launch(trial: &Trial, kernel: &str) -> (Result<(), DriverError>, Vec<f64>) {
    let x = trial.put(Element::F32, &Random::new(3).values(TILES * 128));
    let out = trial.room(Element::F32, BLOCKS * 128);
    let result = trial.try_launch(kernel, [BLOCKS, 1, 1], 128, SHARED, arguments![x, TILES, out]);
    (result, trial.get(out))
}

/// The kernel with a mistake is refused in every order, with these words.
fn refused(mistake: &str, words: &str) {
    for order in Order::ALL {
        let trial = Trial { device: Emulator::new(order) };
        let (result, _) = launch(&trial, &format!("sum_of_tiles_{mistake}"));
        let error = result.expect_err(&format!("{mistake} is not found when threads run {order:?}"));
        let text = error.to_string();
        assert!(text.contains(words), "{mistake}, threads run {order:?}: {text}");
        // The device can be used afterwards.
        launch(&trial, "sum_of_tiles_sound").0.expect("the sound kernel runs");
    }
}

#[test]
fn the_kernel_without_a_mistake_is_right() {
    let x: Vec<f64> = Random::new(3).values(TILES * 128).iter().map(|&x| f64::from(x as f32)).collect();
    let sums: Vec<f64> =
        (0..128).map(|thread| (0..TILES).map(|tile| x[tile * 128 + (thread * 37 + 5) % 128]).sum()).collect();
    let wanted = sums.iter().map(|sum| sum + sum * sum).sum::<f64>();
    let found = in_every_order(|trial| {
        let (result, values) = launch(trial, "sum_of_tiles_sound");
        result.expect("the kernel is sound");
        vec![values]
    });
    assert_close("the sum", Element::F32, &found[0], &vec![wanted; BLOCKS * 128]);
}

#[test]
fn missing_barriers_between_tiles() {
    refused("no_barrier_before_tile", "with no barrier between them");
    refused("no_barrier_after_tile", " reads ");
}

#[test]
fn a_missing_wait() {
    refused("no_wait", "an asynchronous copy that hasn't been waited for");
}

#[test]
fn missing_barriers_in_a_sum() {
    refused("no_barrier_in_sum", " reads ");
    refused("no_barrier_between_sums", "with no barrier between them");
}

#[test]
fn a_missing_barrier_of_a_warp() {
    refused("no_warp_barrier", "with no barrier between them");
}

#[test]
fn a_barrier_in_a_branch() {
    refused("barrier_in_branch", "threads of a block wait at different barriers, mistakes.cu:");
}

#[test]
fn a_shuffle_in_a_branch() {
    refused("shuffle_in_branch", "common.cuh:");
}

#[test]
fn accesses_past_a_buffer() {
    refused("write_past_buffer", "writes 4 bytes at 1024 of an allocation of 1024 bytes");
    refused("read_past_buffer", "of an allocation of 1536 bytes");
    refused("past_shared", "reads 4 bytes at 528 of 528 bytes of shared memory");
}

#[test]
fn two_blocks_at_one_place() {
    refused("blocks_write_one_place", "another block of the launch");
}

#[test]
fn an_access_that_is_not_aligned() {
    refused("misaligned", "writes 16 bytes that aren't aligned");
}

#[test]
fn shared_memory_that_nothing_was_written_to() {
    refused("unwritten_shared", "reads shared memory that nothing was written to");
}

#[test]
fn launches_that_no_device_can_run() {
    let device = Emulator::new(Order::Forwards);
    let text = |kernel: &str, grid, threads, shared, arguments: &[Argument]| {
        let launch = Launch { kernel, grid, threads, shared, arguments };
        device.launch(&launch).expect_err("the launch is not valid").to_string()
    };
    let pointer = Argument::Address(device.allocate(4096).expect("there is room"));
    let right = [pointer, Argument::U32(1), pointer];
    assert_eq!(text("nothing", [1; 3], 32, 0, &[]), "there is no kernel `nothing`");
    let sound = "sum_of_tiles_sound";
    assert!(text(sound, [1; 3], 33, 528, &right).contains("a block has 33 threads"));
    assert!(text(sound, [1, 0, 1], 128, 528, &right).contains("the grid is 1 x 0 x 1 blocks"));
    assert!(text(sound, [1; 3], 128, 200_000, &right).contains("200000 bytes of shared memory"));
    assert!(text(sound, [1; 3], 128, 528, &right[..2]).contains("it got 2 arguments for 3 parameters"));
    let wrong = [pointer, Argument::I32(1), pointer];
    assert!(text(sound, [1; 3], 128, 528, &wrong).contains("argument 1 is I32(1) where it declares a `u`"));
}

#[test]
fn memory_is_counted_and_its_borders_are_kept() {
    let device = Emulator::with_memory(Order::Forwards, 1000);
    let address = device.allocate(600).expect("there is room");
    assert_eq!(address.0 % 256, 0);
    assert!(matches!(device.allocate(500), Err(DriverError::OutOfMemory { asked: 500, free: 400, total: 1000 })));
    let mut bytes = [0; 8];
    device.download(address, &mut bytes).expect("the range is allocated");
    assert_eq!(bytes, [0xff; 8], "fresh memory is NaN");
    assert!(device.download(address.offset(593), &mut bytes).is_err());
    assert!(device.upload(address.offset(600), &[1]).is_err());
    assert!(device.clear(address, 601).is_err());
    device.free(address).expect("it is allocated");
    assert!(device.free(address).is_err());
    assert_eq!(device.memory().expect("it is known").free, 1000);
}

#[test]
fn products_are_those_of_the_rounded_operands() {
    let (rows, columns, inner) = (5, 7, 33);
    for (element, result) in
        [(Element::F32, Element::F32), (Element::Bf16, Element::F32), (Element::Bf16, Element::Bf16)]
    {
        for turned in 0..4 {
            let [turn_a, turn_b] = [turned & 1 == 1, turned & 2 == 2];
            let trial = Trial { device: Emulator::new(Order::Forwards) };
            let mut random = Random::new(turned);
            // Rows have a gap, which has to stay as it is in D.
            let (a_rows, a_columns) = if turn_a { (inner, rows) } else { (rows, inner) };
            let (b_rows, b_columns) = if turn_b { (columns, inner) } else { (inner, columns) };
            let a = trial.put(element, &random.values(a_rows * (a_columns + 3)));
            let b = trial.put(element, &random.values(b_rows * (b_columns + 1)));
            let d = trial.put(result, &random.values(rows * (columns + 2)));
            let (a_values, b_values, before) = (trial.get(a), trial.get(b), trial.get(d));
            let operand = |address, stride, element, transposed| Operand { address, stride, element, transposed };
            let target = operand(d.address, columns + 2, result, false);
            let product = Product {
                rows,
                columns,
                inner,
                alpha: 0.5,
                a: operand(a.address, a_columns + 3, element, turn_a),
                b: operand(b.address, b_columns + 1, element, turn_b),
                c: Some(target),
                d: target,
            };
            trial.device.product(&product).expect("the product is valid");
            let mut wanted = before;
            for row in 0..rows {
                for column in 0..columns {
                    let sum: f64 = (0..inner)
                        .map(|k| {
                            let left = if turn_a { k * (a_columns + 3) + row } else { row * (a_columns + 3) + k };
                            let right =
                                if turn_b { column * (b_columns + 1) + k } else { k * (b_columns + 1) + column };
                            a_values[left] * b_values[right]
                        })
                        .sum();
                    wanted[row * (columns + 2) + column] += 0.5 * sum;
                }
            }
            assert_close("the product", result, &trial.get(d), &wanted);
        }
    }
}
