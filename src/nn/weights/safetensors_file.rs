//! Tensors in `safetensors` files.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo, View};
use tch::{Device, Kind, Tensor};

use crate::files::write_whole;
use crate::{Error, Result};

/// The metadata key of captionlab. It holds a single JSON string, so that equal weights give equal files.
const METADATA: &str = "captionlab";

/// Longest header that the format allows.
pub(super) const LONGEST_HEADER: u64 = 100_000_000;

/// A tensor as `safetensors` serialises it.
struct Stored {
    kind: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.kind
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Writes named tensors atomically, with JSON `metadata` in the header. Python's `safetensors.torch.load_file` opens the file.
///
/// # Errors
/// [`Error::File`] when the file cannot be written, [`Error::Internal`] for a dtype that the format lacks.
pub fn write_tensors(path: &Path, tensors: &[(String, Tensor)], metadata: &serde_json::Value) -> Result<()> {
    let fault = |problem: String| Error::internal(format!("{}: {problem}", path.display()));
    let mut stored = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let (kind, width) = match tensor.kind() {
            Kind::Float => (Dtype::F32, 4),
            Kind::Double => (Dtype::F64, 8),
            Kind::Half => (Dtype::F16, 2),
            Kind::Int64 => (Dtype::I64, 8),
            Kind::Uint8 => (Dtype::U8, 1),
            other => return Err(fault(format!("{name} has the unsupported dtype {other:?}"))),
        };
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let count = tensor.numel();
        let mut bytes = vec![0; count * width];
        tensor.f_copy_data_u8(&mut bytes, count)?;
        let shape = tensor.size().iter().map(|&size| size as usize).collect();
        stored.push((name.as_str(), Stored { kind, shape, bytes }));
    }
    let metadata = HashMap::from([(METADATA.to_string(), metadata.to_string())]);
    let bytes = safetensors::serialize(stored, &Some(metadata)).map_err(|error| fault(error.to_string()))?;
    write_whole(path, "write the weights", &bytes)
}

/// Reads a `safetensors` file: the tensors by name, and captionlab's metadata (`Null` in files of other programs). Loads tensor by
/// tensor, so the file is never in memory twice.
///
/// # Errors
/// [`Error::File`] when the file cannot be read, [`Error::Weights`] when it is not a complete `safetensors` file.
pub fn read_tensors(path: &Path) -> Result<(BTreeMap<String, Tensor>, serde_json::Value)> {
    let unreadable = |source| Error::file(path, "read the weights", source, "Check the path; a run writes this file.");
    let problem = |problem: String| Error::Weights {
        path: path.into(),
        problem: format!("not a safetensors file: {problem}"),
        help: "Check that the file was copied completely.".to_string(),
    };
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut file = BufReader::new(file);
    let header_length = match length {
        0..8 => return Err(problem(format!("{length} bytes are too few"))),
        _ => {
            let mut bytes = [0; 8];
            file.read_exact(&mut bytes).map_err(unreadable)?;
            u64::from_le_bytes(bytes)
        }
    };
    if header_length > LONGEST_HEADER.min(length - 8) {
        return Err(problem(format!("{length} bytes are too few for a header of {header_length}")));
    }
    let mut header = vec![0; header_length as usize];
    file.read_exact(&mut header).map_err(unreadable)?;
    let header = parse_header(&header, length - 8 - header_length).map_err(problem)?;
    let mut tensors = BTreeMap::new();
    for (name, info) in header.tensors {
        let Some(kind) = kind_of(info.dtype) else {
            return Err(problem(format!("{name} has the unsupported dtype {:?}", info.dtype)));
        };
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        file.read_exact(&mut bytes).map_err(unreadable)?;
        let shape: Vec<i64> = info.shape.iter().map(|&size| size as i64).collect();
        tensors.insert(name, Tensor::f_from_data_size(&bytes, &shape, kind)?);
    }
    Ok((tensors, header.metadata))
}

/// A parsed `safetensors` header.
#[derive(Debug)]
pub(crate) struct FileHeader {
    /// captionlab's metadata; `Null` in files of other programs.
    pub(crate) metadata: serde_json::Value,
    /// Tensors sorted by their offsets.
    tensors: Vec<(String, TensorInfo)>,
    /// Offset of the tensor data in the file.
    start: usize,
}

impl FileHeader {
    /// Byte range of a tensor in the file, and its shape.
    pub(crate) fn place(&self, name: &str) -> Option<(Range<usize>, &[usize])> {
        let (_, info) = self.tensors.iter().find(|(other, _)| other == name)?;
        Some((self.start + info.data_offsets.0..self.start + info.data_offsets.1, &info.shape))
    }
}

/// Parses a header that `data_length` bytes of tensor data follow, and checks that the tensors fill them.
pub(crate) fn parse_header(header: &[u8], data_length: u64) -> std::result::Result<FileHeader, String> {
    let start = 8 + header.len();
    let header: Metadata = serde_json::from_slice(header).map_err(|error| format!("its header: {error}"))?;
    let metadata = match header.metadata().as_ref().and_then(|entries| entries.get(METADATA)) {
        Some(text) => serde_json::from_str(text).map_err(|error| format!("its metadata: {error}"))?,
        None => serde_json::Value::Null,
    };
    let mut tensors: Vec<(String, TensorInfo)> =
        header.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let end = checked_layout(&tensors)? as u64;
    match end == data_length {
        true => Ok(FileHeader { metadata, tensors, start }),
        false => Err(format!("it has {data_length} bytes of tensor data, and its header describes {end}")),
    }
}

/// Checks that the tensors, sorted by offset, leave no gap, and returns their end.
fn checked_layout(infos: &[(String, TensorInfo)]) -> std::result::Result<usize, String> {
    let mut end = 0;
    for (name, info) in infos {
        let count = info.shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let bytes = count.and_then(|count| count.checked_mul(info.dtype.size()));
        let (from, to) = info.data_offsets;
        if from != end || bytes.is_none() || from.checked_add(bytes.unwrap_or(0)) != Some(to) {
            return Err(format!("{name} is {:?} and occupies the bytes {from} to {to}", info.shape));
        }
        end = to;
    }
    Ok(end)
}

fn kind_of(kind: Dtype) -> Option<Kind> {
    Some(match kind {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::I64 => Kind::Int64,
        Dtype::I32 => Kind::Int,
        Dtype::I16 => Kind::Int16,
        Dtype::I8 => Kind::Int8,
        Dtype::U8 => Kind::Uint8,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<(String, Tensor)> {
        let weight = Tensor::from_slice(&[0.5f32, -1.0, 2.0, 3.0]).reshape([2, 2]);
        vec![("output.weight".to_string(), weight), ("norm.count".to_string(), Tensor::from(7i64))]
    }

    #[test]
    fn a_file_that_is_cut_short_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        write_tensors(&path, &example(), &serde_json::Value::Null).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert!(read_tensors(&path).is_err(), "{length} bytes were taken for a whole file");
        }
        std::fs::write(&path, [&bytes[..], b"0"].concat()).unwrap();
        assert!(read_tensors(&path).is_err(), "a byte too many was taken for a whole file");
    }

    #[test]
    fn a_header_that_contradicts_itself_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let cases = [
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#,
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
            r#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}}"#,
            r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}}"#,
            r#"{"a":{"dtype":"F3","shape":[2],"data_offsets":[0,8]}}"#,
            "[]",
            "{",
        ];
        for header in cases {
            let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 8]].concat();
            std::fs::write(&path, file).unwrap();
            let message = read_tensors(&path).unwrap_err().to_string();
            assert!(message.contains("not a safetensors file"), "{header}: {message}");
        }
    }
}
