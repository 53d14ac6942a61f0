//! The captioner beside the same network in eager PyTorch, in interleaved rounds with the same number of threads: a training
//! step, and captions drawn word by word.
//!
//! `cargo bench --bench captioner`; prints one line of JSON for each comparison.

mod peer;

use std::error::Error;

use captionlab::Device;
use captionlab::caption::{CaptionTraining, Decoding, Generator, PackedCaptions};
use captionlab::data::Random;
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
    let pictures = whole(PICTURES as i64);
    // Untrained, it hardly ever ends a caption early.
    let decoding = Decoding { max_words: TOKENS, ..Decoding::temperature(0.3, 1) };
    let caption = || drop(generator.generate(&pictures, &decoding, 0).expect("the features fit"));

    step();
    peer.measure("train", 1)?;
    caption();
    peer.measure("caption", PICTURES)?;
    let (mut ours, mut theirs) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..ROUNDS {
        ours[0].push(rate(STEPS * BATCH, || (0..STEPS).for_each(|_| step())));
        theirs[0].push(peer.measure("train", STEPS)?);
        ours[1].push(rate(PICTURES, caption));
        theirs[1].push(peer.measure("caption", PICTURES)?);
    }
    for ((bench, unit), (ours, peer)) in
        [("captioner training step", "pairs/s"), ("captions drawn word by word", "pictures/s")]
            .into_iter()
            .zip(ours.iter().zip(&theirs))
    {
        let line = serde_json::json!({
            "bench": bench, "unit": unit, "better": "higher", "ours": ours, "peer": peer, "peer_name": "PyTorch eager",
        });
        println!("{line}");
    }
    Ok(())
}
