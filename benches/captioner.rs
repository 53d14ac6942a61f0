//! The captioner beside the same network in eager PyTorch, in interleaved rounds with the same number of threads: a training
//! step, captions drawn word by word in batches and one at a time, and by a beam.
//!
//! `cargo bench --bench captioner`; prints one line of JSON for each comparison.

mod peer;

use std::error::Error;

use captionlab::Device;
use captionlab::caption::{CaptionTraining, Decoding, Generator, PackedCaptions};
use captionlab::data::Random;
use captionlab::metrics::Cider;
use captionlab::nn::Weights;
use captionlab::train::{GradientClipping, Optimiser, OptimiserConfig};
use captionlab::vision::FeatureBatch;
use peer::{Peer, rate};
use tch::Tensor;

const VOCABULARY: usize = 5000;
const SIZE: i64 = 512;
const BATCH: usize = 100;
const TOKENS: usize = 20;
const ROUNDS: usize = 7;
const STEPS: usize = 4;
const PICTURES: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(mut peer) = Peer::start("captioner.py", &[tch::get_num_threads().to_string()]) else {
        println!("skipped: .venv/bin/python is not here");
        return Ok(());
    };
    let training = CaptionTraining::course();
    let mut weights = Weights::new(1, Device::Cpu);
    let generator = Generator::new(&training.captioner, SIZE as usize, VOCABULARY, &mut weights)
        .expect("the course's sizes are valid");
    let mut optimiser =
        Optimiser::new(OptimiserConfig::rms_prop(1e-4), GradientClipping::Norm(5.0), weights.trainable())
            .expect("the course's settings are valid");
    let whole = |count: i64| {
        let features = Weights::new(2, Device::Cpu).uniform("features", &[BATCH as i64, SIZE], 1.7).detach();
        FeatureBatch::whole_pictures(&features.narrow(0, 0, count))
    };
    let features = whole(BATCH as i64);
    let mut random = Random::new(3);
    // With its end a caption is TOKENS words to say.
    let captions: Vec<Vec<i64>> =
        (0..BATCH).map(|_| (1..TOKENS).map(|_| (4 + random.below(VOCABULARY - 4)) as i64).collect()).collect();
    let mut step = || {
        let captions: Vec<(usize, &[i64])> = captions.iter().map(Vec::as_slice).enumerate().collect();
        let loss = generator.loss(&features, &PackedCaptions::new(&captions, TOKENS), Some(&mut random));
        let loss = loss.expect("the features fit");
        let gradients = Tensor::run_backward(&[&loss], &optimiser.weights(), false, false);
        optimiser.apply(gradients, 1.0).expect("the step can be made");
        assert!(loss.double_value(&[]).is_finite());
    };
    let caption = |count: usize, decoding: Decoding| {
        // No caption ends early, as none of the peer's does.
        let decoding = Decoding { min_words: TOKENS, max_words: TOKENS, ..decoding };
        let mut left = count;
        while left > 0 {
            let batch = left.min(PICTURES);
            let said = generator.generate(&whole(batch as i64), &decoding, 0).expect("the features fit");
            assert_eq!(said.len(), batch);
            left -= batch;
        }
    };
    let drawn = || Decoding::temperature(0.3, 1);
    // What it is called, in what, what ours makes of how many items, and the same of the peer.
    type Work<'a> = (&'static str, &'static str, usize, Box<dyn FnMut() + 'a>, &'static str, usize);
    let mut benches: Vec<Work<'_>> = vec![
        (
            "captioner training step",
            "pairs/s",
            STEPS * BATCH,
            Box::new(|| (0..STEPS).for_each(|_| step())),
            "train",
            STEPS,
        ),
        (
            "captions drawn, a batch beside a batch",
            "pictures/s",
            PICTURES,
            Box::new(|| caption(PICTURES, drawn())),
            "caption",
            PICTURES,
        ),
        (
            "1,000 captions drawn, batches beside one at a time",
            "pictures/s",
            1000,
            Box::new(|| caption(1000, drawn())),
            "one",
            10,
        ),
        (
            "captions by a beam of 5, a batch beside one at a time",
            "pictures/s",
            PICTURES,
            Box::new(|| caption(PICTURES, Decoding::beam(5))),
            "beam",
            5,
        ),
        ("first caption of one picture", "pictures/s", 1, Box::new(|| caption(1, drawn())), "one", 1),
    ];
    for (.., work, mode, count) in &mut benches {
        work();
        peer.measure(mode, *count)?;
    }
    let mut rates = vec![(Vec::new(), Vec::new()); benches.len()];
    for _ in 0..ROUNDS {
        for ((_, _, items, work, mode, count), (ours, theirs)) in benches.iter_mut().zip(&mut rates) {
            ours.push(rate(*items, work));
            theirs.push(peer.measure(mode, *count)?);
        }
    }
    for ((bench, unit, ..), (ours, peer)) in benches.iter().zip(&rates) {
        let line = serde_json::json!({
            "bench": bench, "unit": unit, "better": "higher", "ours": ours, "peer": peer, "peer_name": "PyTorch eager",
        });
        println!("{line}");
    }
    drop(benches);
    // Self-critical training scores a drawn and a greedy caption of each picture.
    let references: Vec<Vec<Vec<i64>>> = captions.iter().map(|words| vec![words.clone(); 5]).collect();
    let cider = Cider::of_ids(&references);
    let (mut scored, mut learnt) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        scored.push(rate(2 * BATCH, || {
            for (picture, words) in captions.iter().enumerate() {
                for words in [words, &captions[(picture + 1) % BATCH]] {
                    assert!(cider.cider_d_of_ids(picture, words) >= 0.0);
                }
            }
        }));
        learnt.push(rate(2 * BATCH, || {
            caption(BATCH, drawn());
            caption(BATCH, Decoding::greedy());
            step();
        }));
    }
    let line = serde_json::json!({
        "bench": "self-critical step: its captions scored", "unit": "captions/s", "better": "higher",
        "ours": scored, "peer": learnt, "peer_name": "ours, drawn and learnt from",
    });
    println!("{line}");
    Ok(())
}
