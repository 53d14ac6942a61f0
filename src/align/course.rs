//! The checkpoints of the course's Python original: `alignment_model_epoch_60.pth`, `captioning_model_epoch_60.pth`.
//!
//! They are dictionaries of PyTorch with the weights (`model_state_dict`) and the ids of words (`vocab_word2idx`). What a weight is
//! follows from its shape, whatever the Python class calls it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};

use super::{Aligner, AlignmentConfig};
use crate::data::Vocabulary;
use crate::nn::{Weights, read_weights, read_word_ids};
use crate::vision::{EncoderConfig, NamedEncoder};
use crate::{Error, Result};

/// Keys under which a checkpoint keeps the ids of words.
const WORD_IDS: [&str; 4] = ["vocab_word2idx", "word2idx", "word_to_idx", "vocab"];

/// The special tokens, by the id that they have in a [`Vocabulary`]: what checkpoints call them, without brackets.
const SPECIALS: [&[&str]; 4] = [&["pad"], &["start", "sos", "bos"], &["end", "eos"], &["unk", "unknown"]];

const WORD_EMBEDDING: &str = "word_embedding.weight";

/// Whether a file is one of PyTorch, by its name.
pub(crate) fn is_of_pytorch(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "pth" || extension == "pt")
}

/// A checkpoint, whose weights are given their names one by one.
pub(crate) struct CourseCheckpoint {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    named: BTreeMap<String, Tensor>,
    pub(crate) vocabulary: Vocabulary,
    /// The row of each id of the vocabulary in the checkpoint; `None` for a special token that it lacks.
    rows: Vec<Option<i64>>,
}

impl CourseCheckpoint {
    /// # Errors
    /// [`Error::File`] when there is no such file, [`Error::Weights`] when it holds no weights or no vocabulary.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let tensors = read_weights(path)?;
        let refusal =
            |problem: String, help: &str| Error::Weights { path: path.into(), problem, help: help.to_string() };
        let Some(ids) = read_word_ids(path, &WORD_IDS)? else {
            return Err(refusal(
                format!("the checkpoint has no vocabulary: none of {} is a dictionary of ids", WORD_IDS.join(", ")),
                "Save it with the weights: torch.save({\"model_state_dict\": …, \"vocab_word2idx\": …}, path).",
            ));
        };
        let mut of_ids: Vec<(i64, String)> = ids.into_iter().map(|(word, id)| (id, word)).collect();
        of_ids.sort();
        if let Some((place, (id, word))) = (0..).zip(&of_ids).find(|(place, (id, _))| place != id) {
            return Err(refusal(
                format!("its vocabulary has no word of the id {place}, or two: {word:?} has {id}"),
                "Number the words from 0 to their number less 1.",
            ));
        }
        let (mut specials, mut words, mut rows) = ([None; 4], Vec::new(), Vec::new());
        for (id, word) in of_ids {
            let bare = word.trim_matches(|letter: char| !letter.is_alphanumeric()).to_lowercase();
            let special = SPECIALS.iter().position(|names| names.contains(&bare.as_str()) && bare != word);
            match special {
                Some(special) if specials[special].is_none() => specials[special] = Some(id),
                _ => {
                    words.push(word);
                    rows.push(Some(id));
                }
            }
        }
        let vocabulary = Vocabulary::of_words(&words)?;
        let rows = specials.into_iter().chain(rows).collect();
        Ok(Self { path: path.into(), tensors, named: BTreeMap::new(), vocabulary, rows })
    }

    pub(crate) fn refusal(&self, problem: impl Into<String>) -> Error {
        Error::Weights {
            path: self.path.clone(),
            problem: problem.into(),
            help: "Give a checkpoint of the course's alignment or captioning model, as its notebooks save it."
                .to_string(),
        }
    }

    /// Whether the checkpoint knows this special token.
    pub(crate) fn has(&self, special: i64) -> bool {
        self.rows.get(special as usize).is_some_and(Option::is_some)
    }

    /// The ids of the checkpoint.
    fn words(&self) -> i64 {
        self.rows.iter().flatten().count() as i64
    }

    /// Gives a weight that is taken, with a row for each id of the checkpoint, a row for each id of the vocabulary; `missing` stands in
    /// those of special tokens that the checkpoint lacks.
    fn reorder(&mut self, name: &str, missing: f64) -> Result<()> {
        let Some(rows) = self.named.get(name) else { return Ok(()) };
        let all = Tensor::f_cat(&[rows, &rows.f_narrow(0, 0, 1)?.f_full_like(missing)?], 0)?;
        let order: Vec<i64> = self.rows.iter().map(|row| row.unwrap_or(self.words())).collect();
        let rows = all.f_index_select(0, &Tensor::from_slice(&order))?;
        self.named.insert(name.to_string(), rows);
        Ok(())
    }

    /// Takes the recurrent layer, and returns what it reads, its state, and whether it reads backwards too.
    pub(crate) fn take_recurrent(&mut self) -> Result<(i64, i64, bool)> {
        const FIRST: &str = "weight_ih_l0";
        let prefixes: Vec<String> =
            self.tensors.keys().filter_map(|name| name.strip_suffix(FIRST)).map(String::from).collect();
        let [prefix] = prefixes.as_slice() else {
            return Err(self.refusal(format!("it has {} recurrent layers, not one", prefixes.len())));
        };
        let names: Vec<String> =
            self.tensors.keys().filter(|name| name.starts_with(prefix.as_str())).cloned().collect();
        for name in names {
            let own = &name[prefix.len()..];
            let is_of_lstm = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
                .iter()
                .any(|known| own.strip_suffix("_reverse").unwrap_or(own) == *known);
            if is_of_lstm {
                self.take(&name, &format!("lstm.{own}"));
            }
        }
        let size = |name: &str| self.named.get(name).map(Tensor::size);
        match (size("lstm.weight_ih_l0"), size("lstm.weight_hh_l0")) {
            (Some(read), Some(state)) if read.len() == 2 && state.len() == 2 && read[0] == 4 * state[1] => {
                Ok((read[1], state[1], self.named.contains_key("lstm.weight_ih_l0_reverse")))
            }
            (read, state) => Err(self.refusal(format!("its recurrent layer is no LSTM: {read:?} and {state:?}"))),
        }
    }

    /// Takes the vectors of words, the only weight with a row for each word and no bias, and returns their dimension.
    pub(crate) fn take_word_embedding(&mut self) -> Result<i64> {
        let (words, layers) = (self.words(), self.layers());
        let is_embedding = |(name, tensor): &(&String, &Tensor)| {
            let size = tensor.size();
            size.len() == 2 && size[0] == words && !layers.iter().any(|layer| layer.weight == **name)
        };
        let found: Vec<(String, i64)> =
            self.tensors.iter().filter(is_embedding).map(|(name, vectors)| (name.clone(), vectors.size()[1])).collect();
        let [(name, size)] = found.as_slice() else {
            let problem = format!("{} of its weights are vectors of {words} words: {found:?}", found.len());
            return Err(self.refusal(problem));
        };
        self.take(name, WORD_EMBEDDING);
        self.reorder(WORD_EMBEDDING, 0.0)?;
        Ok(*size)
    }

    /// The fully connected layers that are not taken.
    pub(crate) fn layers(&self) -> Vec<CourseLayer> {
        let layer = |(name, weight): (&String, &Tensor)| {
            let bias = format!("{}bias", name.strip_suffix("weight")?);
            let size = weight.size();
            let fits = size.len() == 2 && self.tensors.get(&bias).is_some_and(|bias| bias.size() == size[..1]);
            fits.then(|| CourseLayer { weight: name.clone(), bias, outputs: size[0], inputs: size[1] })
        };
        self.tensors.iter().filter_map(layer).collect()
    }

    /// Takes a weight under a name.
    fn take(&mut self, from: &str, name: &str) {
        if let Some(tensor) = self.tensors.remove(from) {
            self.named.insert(name.to_string(), tensor);
        }
    }

    /// Takes a layer under a name.
    pub(crate) fn take_layer(&mut self, layer: &CourseLayer, name: &str) {
        self.take(&layer.weight, &format!("{name}.weight"));
        self.take(&layer.bias, &format!("{name}.bias"));
    }

    /// Takes the layer that predicts words from that many numbers. What it lacks is never said.
    pub(crate) fn take_output(&mut self, inputs: i64) -> Result<()> {
        let words = self.words();
        let Some(layer) = self.layers().into_iter().find(|one| (one.outputs, one.inputs) == (words, inputs)) else {
            return Err(self.refusal(format!("it has no layer from {inputs} numbers to {words} words")));
        };
        self.take_layer(&layer, "output");
        self.reorder("output.weight", 0.0)?;
        self.reorder("output.bias", f64::from(f32::MIN))
    }

    /// Adds a weight of another checkpoint.
    pub(crate) fn add(&mut self, name: &str, tensor: Tensor) {
        self.named.insert(name.to_string(), tensor);
    }

    /// The only one of some layers that is left.
    pub(crate) fn only(&self, layers: Vec<CourseLayer>, what: &str) -> Result<CourseLayer> {
        let names: Vec<&str> = layers.iter().map(|layer| layer.weight.as_str()).collect();
        match <[CourseLayer; 1]>::try_from(layers.clone()) {
            Ok([layer]) => Ok(layer),
            Err(_) if names.is_empty() => Err(self.refusal(format!("it has no layer that is {what}"))),
            Err(_) => Err(self.refusal(format!("{} could each be {what}", names.join(", ")))),
        }
    }

    /// Puts the weights into a network, and refuses a checkpoint that has more.
    pub(crate) fn assign(&self, weights: &mut Weights) -> Result<()> {
        let left: Vec<&str> = self.tensors.keys().map(String::as_str).collect();
        if !left.is_empty() {
            return Err(self.refusal(format!("no network of the course has these weights of it: {}", left.join(", "))));
        }
        let single = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.f_to_kind(Kind::Float)?));
        weights.assign(&self.named.iter().map(single).collect::<Result<_>>()?, &self.path)
    }
}

/// A fully connected layer of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CourseLayer {
    weight: String,
    bias: String,
    pub(crate) outputs: i64,
    pub(crate) inputs: i64,
}

/// The encoder of the course where its weights are here and it gives features of that dimension; otherwise features have to be brought.
pub(crate) fn course_encoder(width: i64) -> NamedEncoder {
    match NamedEncoder::load(&EncoderConfig::new("course")) {
        Ok(encoder) if encoder.width() as i64 == width => encoder,
        _ => NamedEncoder::imported(width as usize),
    }
}

impl Aligner {
    /// Reads a checkpoint of the course's alignment model.
    pub(super) fn of_course(path: &Path) -> Result<Self> {
        let mut checkpoint = CourseCheckpoint::read(path)?;
        let (read, hidden, backwards) = checkpoint.take_recurrent()?;
        if !backwards {
            return Err(checkpoint.refusal("its recurrent layer reads in one direction, as that of a captioner does"));
        }
        let word_size = checkpoint.take_word_embedding()?;
        let mut layers = checkpoint.layers();
        let word_layer = (layers.len() == 3).then(|| {
            let of_words = layers.iter().filter(|one| (one.outputs, one.inputs) == (read, word_size));
            let layer = checkpoint.only(of_words.cloned().collect(), "between the words and the LSTM")?;
            layers.retain(|other| *other != layer);
            checkpoint.take_layer(&layer, "word_layer");
            Ok::<_, Error>(layer.outputs as usize)
        });
        let word_layer = word_layer.transpose()?;
        // Where features are as wide as both states together, what is called after images is of regions.
        let looks = |layer: &CourseLayer| {
            let name = layer.weight.to_lowercase();
            ["image", "img", "region", "visual", "vision"].iter().any(|part| name.contains(part))
        };
        let of_states = layers.iter().filter(|one| one.inputs == 2 * hidden);
        let mut candidates: Vec<CourseLayer> = of_states.cloned().collect();
        if candidates.len() > 1 {
            candidates.retain(|layer| !looks(layer));
        }
        let projection = checkpoint.only(candidates, "between the LSTM and the embedding")?;
        layers.retain(|other| *other != projection);
        checkpoint.take_layer(&projection, "word_projection");
        let of_regions = layers.into_iter().filter(|one| one.outputs == projection.outputs).collect();
        let regions = checkpoint.only(of_regions, "between the regions and the embedding")?;
        checkpoint.take_layer(&regions, "region_projection");
        let config = AlignmentConfig {
            word_size: word_size as usize,
            word_layer,
            hidden_size: hidden as usize,
            embedding_size: projection.outputs as usize,
            ..AlignmentConfig::course()
        };
        let (vocabulary, encoder) = (checkpoint.vocabulary.clone(), course_encoder(regions.inputs));
        let mut aligner = Self::with(config, vocabulary, encoder, Weights::to_assign(Device::Cpu))?;
        checkpoint.assign(&mut aligner.weights)?;
        Ok(aligner)
    }
}
