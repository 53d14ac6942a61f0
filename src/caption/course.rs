//! The checkpoint of the course's captioner.

use std::path::{Path, PathBuf};

use tch::Device;

use super::{Captioner, CaptionerConfig, Pooling};
use crate::align::{Aligner, CourseCheckpoint, Embed, RegionEmbedding, is_of_pytorch};
use crate::data::Vocabulary;
use crate::nn::Weights;
use crate::vision::NamedEncoder;
use crate::{Error, Result};

impl Captioner {
    /// Reads a checkpoint of the course's captioner. Where that of its alignment model lies beside it, a `.pth` with `align` in its name,
    /// it reads regions; otherwise the vectors that the course made of them.
    pub(super) fn of_course(path: &Path) -> Result<Self> {
        let mut checkpoint = CourseCheckpoint::read(path)?;
        let (read, hidden, backwards) = checkpoint.take_recurrent()?;
        if backwards {
            return Err(checkpoint.refusal("its recurrent layer reads in both directions, as that of an aligner does"));
        }
        if !checkpoint.has(Vocabulary::END) {
            return Err(checkpoint.refusal("its vocabulary has no <end>, so no caption would end"));
        }
        let word_size = checkpoint.take_word_embedding()?;
        checkpoint.take_output(hidden)?;
        let image_size = read - word_size;
        let of_images = checkpoint.layers().into_iter().filter(|layer| layer.outputs == image_size).collect();
        let projection = checkpoint.only(of_images, "between the picture and the LSTM")?;
        checkpoint.take_layer(&projection, "image_projection");
        let aligner = match aligner_beside(path)? {
            Some(aligner) if aligner.config().embedding_size as i64 == projection.inputs => Some(aligner),
            _ => None,
        };
        let config = CaptionerConfig {
            word_size: word_size as usize,
            image_size: image_size as usize,
            hidden_size: hidden as usize,
            pooling: if aligner.is_some() { Pooling::AlignedMean } else { Pooling::WholePicture },
            aligner: aligner.as_ref().map(|aligner| aligner.config().clone()),
            ..CaptionerConfig::course()
        };
        let encoder = match &aligner {
            Some(aligner) => aligner.named_encoder().clone(),
            None => NamedEncoder::imported(projection.inputs as usize),
        };
        let vocabulary = checkpoint.vocabulary.clone();
        let mut captioner = Self::with(config, vocabulary, encoder, Weights::to_assign(Device::Cpu))?;
        if let Some(aligner) = aligner {
            for (name, tensor) in aligner.named_weights() {
                if name.starts_with(RegionEmbedding::PREFIX) {
                    checkpoint.add(&name, tensor);
                }
            }
        }
        checkpoint.assign(&mut captioner.weights)?;
        Ok(captioner)
    }
}

/// The course's aligner in the folder of another checkpoint.
fn aligner_beside(path: &Path) -> Result<Option<Aligner>> {
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(folder).map_err(|source| {
        Error::file(folder, "look for the course's alignment model", source, "Check who may read it.")
    })?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|other| {
        let name = other.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        is_of_pytorch(other) && name.contains("align") && other.file_name() != path.file_name()
    });
    found.sort();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Aligner::load(one).map(Some),
        several => Err(Error::Weights {
            path: path.into(),
            problem: format!("{} alignment models lie beside it", several.len()),
            help: "Leave the one there that the captioner was trained with.".to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use serde::Deserialize;
    use tch::Tensor;

    use super::*;
    use crate::align::PackedSentences;
    use crate::caption::{Decoding, PackedCaptions};
    use crate::vision::FeatureBatch;

    /// The course's two models in small, as it saves them, under two sets of names; and what they say.
    const SCRIPT: &str = r#"
import json, sys, torch, torch.nn as nn, torch.nn.functional as F
torch.manual_seed(0); folder = sys.argv[1]
D, A, W, I, H, S = 24, 10, 6, 7, 8, 5
words = ["a", "dog", "runs", "t-shirt", "red", "."]
orders = {"first": ["<pad>", "<start>", "<end>", "<unk>"] + words, "last": words + ["<UNK>", "<EOS>", "<SOS>"]}
class Cap(nn.Module):
    def __init__(s, V, names):
        super().__init__(); s.n = names
        for name, layer in zip(names, [nn.Linear(A, I), nn.Embedding(V, W), nn.LSTM(W + I, H, batch_first=True), nn.Linear(H, V)]): setattr(s, name, layer)
    def forward(s, f, c):
        ip, we, lstm, out = [getattr(s, n) for n in s.n]
        w = we(c); i = F.relu(ip(f)).unsqueeze(1).expand(-1, w.size(1), -1); return out(lstm(torch.cat((w, i), 2))[0])
class Align(nn.Module):
    def __init__(s, V, names, width):
        super().__init__(); s.n = names
        for name, layer in zip(names, [nn.Linear(width, A), nn.Embedding(V, W), nn.Linear(W, I), nn.LSTM(I, S, batch_first=True, bidirectional=True), nn.Linear(2 * S, A)]): setattr(s, name, layer)
    def regions(s, r): return F.normalize(F.relu(getattr(s, s.n[0])(r)), dim=-1)
    def words(s, c):
        _, we, ep, rnn, tp = [getattr(s, n) for n in s.n]
        return F.normalize(F.relu(tp(rnn(F.relu(ep(we(c))))[0])), dim=-1)
names = {"first": (["ip", "we", "lstm", "out"], ["ip", "we", "ep", "rnn", "tp"], D), "last": (["image_projection", "embed", "rnn", "fc"], ["image_embedding", "embed", "word_projection", "lstm", "text_projection"], 2 * S)}
mask = torch.tensor([[1., 1., 1.], [1., 1., 0.]]); told = {}
for order, vocabulary in orders.items():
    of_cap, of_align, width = names[order]; idx = {w: i for i, w in enumerate(vocabulary)}; start = vocabulary.index("<start>" if order == "first" else "<SOS>")
    cap, align = Cap(len(vocabulary), of_cap).eval(), Align(len(vocabulary), of_align, width).eval()
    said = [["a", "red", "dog"], ["a", "dog", "runs"]]; ids = torch.tensor([[idx[w] for w in s] for s in said])
    regions = torch.randn(2, 3, width); regions[1, 2] = 0
    with torch.no_grad():
        v = align.regions(regions); visual = (v * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
        logits = cap(visual, torch.cat((torch.full((2, 1), start), ids), 1))
        told[order] = dict(vocabulary=vocabulary, width=width, said=[" ".join(s) for s in said], regions=regions.flatten().tolist(), visual=visual.flatten().tolist(), logits=logits.tolist(), embedded=v.tolist(), words=align.words(ids).tolist())
    import os; os.makedirs(f"{folder}/{order}/alone")
    save = lambda m, path, **more: torch.save({"epoch": 60, "model_state_dict": m.state_dict(), "optimizer_state_dict": torch.optim.RMSprop(m.parameters()).state_dict(), "loss": 2.5, **more}, f"{folder}/{order}/{path}")
    save(cap, "captioning_model_epoch_60.pth", vocab_word2idx=idx, vocab_idx2word={i: w for w, i in idx.items()}, embed_size=W)
    save(cap, "alone/captioning_model_epoch_60.pth", vocab_word2idx=idx)
    save(align, "alignment_model_epoch_9.pth", vocab_word2idx=idx)
    save(cap, "alone/no_vocabulary.pth"); save(cap, "alone/small_vocabulary.pth", vocab_word2idx={"<end>": 0})
    save(cap, "alone/gaps.pth", vocab_word2idx={"<end>": 0, "a": 2})
print(json.dumps(told))
"#;

    #[derive(Deserialize)]
    struct Told {
        vocabulary: Vec<String>,
        width: i64,
        said: [String; 2],
        regions: Vec<f32>,
        visual: Vec<f32>,
        /// Of each caption, at each of its four places, of each word.
        logits: Vec<Vec<Vec<f64>>>,
        embedded: Vec<Vec<Vec<f32>>>,
        words: Vec<Vec<Vec<f32>>>,
    }

    fn close(name: &str, ours: &Tensor, theirs: &[f32]) {
        let theirs = Tensor::from_slice(theirs);
        let difference = (ours.flatten(0, -1) - theirs).abs().max().double_value(&[]);
        assert!(difference < 1e-5, "{name}: {difference}");
    }

    #[test]
    fn checkpoints_of_the_course_say_what_they_say_in_python() {
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
        if !python.exists() {
            println!("skipped: {} is not here", python.display());
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(&python).args(["-c", SCRIPT]).arg(folder.path()).output().unwrap();
        let told: std::collections::BTreeMap<String, Told> = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        for (order, told) in &told {
            let file = |name: &str| folder.path().join(order).join(name);
            let mask = Tensor::from_slice2(&[[1f32, 1.0, 1.0], [1.0, 1.0, 0.0]]);
            let boxes = Tensor::zeros([2, 3, 4], (tch::Kind::Float, Device::Cpu));
            let regions = Tensor::from_slice(&told.regions).view([2, 3, told.width]);
            let regions = FeatureBatch::new(regions, mask, boxes);

            let aligner = Aligner::load(file("alignment_model_epoch_9.pth")).unwrap();
            close("regions", &aligner.embed_regions(&regions).unwrap(), &told.embedded.concat().concat());
            let sentences: Vec<Vec<i64>> = told.said.iter().map(|text| aligner.ids(text)).collect();
            // Two sentences of the same length are packed word by word.
            let packed = PackedSentences::new(&sentences);
            let by_word: Vec<f32> =
                (0..3).flat_map(|word| [told.words[0][word].clone(), told.words[1][word].clone()]).flatten().collect();
            close("words", &aligner.embed_words(&packed).unwrap(), &by_word);

            let visual = FeatureBatch::whole_pictures(&Tensor::from_slice(&told.visual).view([2, -1]));
            for (name, features) in [("", &regions), ("alone/", &visual)] {
                let captioner = Captioner::load(file(&format!("{name}captioning_model_epoch_60.pth"))).unwrap();
                let vocabulary = captioner.vocabulary();
                assert_eq!(vocabulary.word_count(), 6);
                let ids: Vec<Vec<i64>> = told.said.iter().map(|text| vocabulary.encode(text)).collect();
                let captions: Vec<(usize, &[i64])> = ids.iter().map(Vec::as_slice).enumerate().collect();
                let ours = captioner.generator.distributions(features, &PackedCaptions::new(&captions, 9)).unwrap();
                for (caption, places) in told.logits.iter().enumerate() {
                    for (place, logits) in places.iter().enumerate() {
                        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
                        for (word, logit) in told.vocabulary.iter().zip(logits) {
                            let id = match word.to_lowercase().trim_matches(['<', '>']) {
                                "pad" => Vocabulary::PAD,
                                "start" | "sos" => Vocabulary::START,
                                "end" | "eos" => Vocabulary::END,
                                "unk" => Vocabulary::UNKNOWN,
                                word => vocabulary.id(word),
                            };
                            let ours = ours.double_value(&[(2 * place + caption) as i64, id]);
                            assert!((ours - (logit - sum.ln())).abs() < 1e-5, "{order} {name}{word}: {ours}");
                        }
                    }
                }
                assert_eq!(captioner.caption_features(features, &Decoding::beam(3), 0).unwrap().len(), 2);
            }
            let alone = Captioner::load(file("alone/captioning_model_epoch_60.pth")).unwrap();
            let picture = image::RgbImage::new(8, 8);
            let error = alone.caption_pictures(&[picture], &Decoding::greedy()).unwrap_err().to_string();
            assert!(error.contains("features of dimension 10 that another program makes"), "{error}");
            for (name, problem) in [
                ("alone/no_vocabulary.pth", "the checkpoint has no vocabulary"),
                ("alone/small_vocabulary.pth", "vectors of 1 words"),
                ("alone/gaps.pth", "no word of the id 1"),
                ("alignment_model_epoch_9.pth", "reads in both directions"),
            ] {
                let error = Captioner::load(file(name)).unwrap_err().to_string();
                assert!(error.contains(problem), "{name}: {error}");
            }
            let error = Aligner::load(file("captioning_model_epoch_60.pth")).unwrap_err().to_string();
            assert!(error.contains("reads in one direction"), "{error}");
        }
    }
}
