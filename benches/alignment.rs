//! The aligner beside the same model and loss in eager PyTorch, in interleaved rounds with the same number of threads: a training
//! step at the course's sizes, and its memory. And the search among 1,000 pictures and 5,000 captions beside the matrix product that it
//! cannot do without.
//!
//! `cargo bench --bench alignment`; prints one line of JSON for each comparison.

mod peer;

use std::error::Error;

use captionlab::align::{AlignmentConfig, AlignmentNetwork, AlignmentTraining, PackedSentences};
use captionlab::data::Random;
use captionlab::nn::Weights;
use captionlab::train::{Optimiser, OptimiserConfig};
use captionlab::vision::FeatureBatch;
use captionlab::{Device, Tensor};
use peer::{Peer, rate};
use tch::Kind;

const VOCABULARY: usize = 5000;
const FEATURES: i64 = 2048;
const BATCH: i64 = 256;
const REGIONS: i64 = 20;
const WORDS: usize = 20;
const ROUNDS: usize = 5;
const STEPS: usize = 2;
/// Pictures and captions of Flickr30k's test split; the mean length of its captions.
const SEARCHED: (i64, usize) = (1000, 5000);
const MEAN_WORDS: usize = 12;

fn features(pictures: i64) -> FeatureBatch {
    let random = Weights::new(2, Device::Cpu).uniform("features", &[pictures, REGIONS, FEATURES], 1.7).detach();
    let options = (Kind::Float, Device::Cpu);
    FeatureBatch::new(
        random,
        Tensor::ones([pictures, REGIONS], options),
        Tensor::zeros([pictures, REGIONS, 4], options),
    )
}

/// The most memory of this process until now, in MB; 0 where the system does not say.
fn most_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}

fn main() -> Result<(), Box<dyn Error>> {
    let training = AlignmentTraining::course();
    let mut weights = Weights::new(1, Device::Cpu);
    let network = AlignmentNetwork::new(&training.aligner, FEATURES as usize, VOCABULARY, &mut weights)?;
    let mut optimiser = Optimiser::new(OptimiserConfig::adam(1e-4), training.run.clip, weights.trainable())?;
    let mut random = Random::new(3);
    let mut sentence =
        |words: usize| -> Vec<i64> { (0..words).map(|_| (4 + random.below(VOCABULARY - 4)) as i64).collect() };
    let sentences: Vec<Vec<i64>> = (0..BATCH).map(|_| sentence(WORDS)).collect();
    let pictures = features(BATCH);
    let owners = Tensor::arange(BATCH, (Kind::Int64, Device::Cpu));
    let mut step = || {
        let packed = PackedSentences::new(&sentences);
        let loss = network.loss(&pictures, &packed, &owners, training.margin, training.negatives, None);
        let loss = loss.expect("the features fit");
        let gradients = Tensor::run_backward(&[&loss], &optimiser.weights(), false, false);
        optimiser.apply(gradients, 1.0).expect("the step can be made");
        assert!(loss.double_value(&[]).is_finite());
    };
    match Peer::start("alignment.py", &[tch::get_num_threads().to_string()]) {
        None => println!("skipped: .venv/bin/python is not here"),
        Some(mut peer) => {
            step();
            peer.measure("train", 1)?;
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                ours.push(rate(STEPS * BATCH as usize, || (0..STEPS).for_each(|_| step())));
                theirs.push(peer.measure("train", STEPS)?);
            }
            let line = serde_json::json!({
                "bench": "alignment training step", "unit": "pairs/s", "better": "higher", "ours": ours, "peer": theirs,
                "peer_name": "PyTorch eager",
            });
            println!("{line}");
            let line = serde_json::json!({
                "bench": "its most memory", "unit": "MB", "better": "lower", "ours": [most_memory()],
                "peer": [peer.measure("memory", 0)?], "peer_name": "PyTorch eager",
            });
            println!("{line}");
        }
    }

    let config = AlignmentConfig::course();
    let (pictures, captions) = SEARCHED;
    let lengths = (0..captions).map(|caption| MEAN_WORDS - 5 + caption % 11);
    let searched: Vec<Vec<i64>> = lengths.map(&mut sentence).collect();
    let packed = PackedSentences::new(&searched);
    let words = searched.iter().map(Vec::len).sum::<usize>() as i64;
    let (regions, embedded) = tch::no_grad(|| {
        let regions = network.regions(&features(pictures), None).expect("the features fit");
        (regions, network.words(&packed, None))
    });
    let mask = Tensor::ones([pictures, REGIONS], (Kind::Float, Device::Cpu));
    let product = 2.0 * (words * pictures * REGIONS * config.embedding_size as i64) as f64;
    let (mut ours, mut peak) = (Vec::new(), Vec::new());
    let square = Weights::new(4, Device::Cpu).uniform("square", &[2048, 2048], 1.0).detach();
    for _ in 0..ROUNDS {
        ours.push(product / 1e9 * rate(1, || drop(network.scores(&regions, &mask, &embedded, &packed))));
        let multiply = || (0..8).for_each(|_| drop(square.matmul(&square)));
        peak.push(8.0 * 2.0 * 2048f64.powi(3) / 1e9 * rate(1, multiply));
    }
    let line = serde_json::json!({
        "bench": "search among 1,000 pictures x 5,000 captions", "unit": "GFLOP/s", "better": "higher", "ours": ours,
        "peer": peak, "peer_name": "matrix product of 2048", "note": format!("{words} words"),
    });
    println!("{line}");
    Ok(())
}
