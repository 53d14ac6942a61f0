//! Checks which Python functions and classes a pickle names.
//!
//! A pickle is a program that may call any Python function. Nothing here ever calls one; still, a file that names anything but the
//! building blocks of tensors is not a weights file, and the error names what it asks for.

use std::collections::HashMap;
use std::io::{self, BufRead, Read};

/// Why a pickle is refused.
pub(super) enum Refusal {
    /// It names this function or class.
    Global(String),
    /// It is not a pickle, or is truncated.
    Broken(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Broken(match error.kind() {
            io::ErrorKind::UnexpectedEof => "it ends too early".to_string(),
            _ => error.to_string(),
        })
    }
}

/// Whether tensors and the dictionaries around them are made of this class or function.
pub(super) fn is_of_tensors(module: &str, name: &str) -> bool {
    match module {
        "torch" => {
            name.strip_suffix("Storage").is_some_and(|kind| kind.chars().all(char::is_alphanumeric))
                || matches!(name, "Size" | "device" | "float" | "double" | "half" | "long" | "int" | "short" | "bool")
                || matches!(name, "bfloat16" | "float16" | "float32" | "float64" | "uint8" | "uint16" | "uint32")
                || matches!(name, "uint64" | "int8" | "int16" | "int32" | "int64")
        }
        "torch._utils" => matches!(
            name,
            "_rebuild_tensor"
                | "_rebuild_tensor_v2"
                | "_rebuild_tensor_v3"
                | "_rebuild_parameter"
                | "_rebuild_parameter_with_state"
        ),
        "collections" => name == "OrderedDict",
        "builtins" | "__builtin__" => matches!(name, "set" | "frozenset"),
        _ => false,
    }
}

/// As [`is_of_tensors`], with the classes that a TorchScript archive declares itself.
pub(super) fn is_of_torch_script(module: &str, name: &str) -> bool {
    let declared = module == "__torch__" || module.starts_with("__torch__.");
    (declared && !module.starts_with("__torch__.torch.classes"))
        || module == "torch.jit._pickle"
        || is_of_tensors(module, name)
}

/// Reads a pickle to its end and refuses it at the first name that is not `allowed`, used or not.
pub(super) fn check_globals(file: &mut impl BufRead, allowed: fn(&str, &str) -> bool) -> Result<(), Refusal> {
    let mut names = Names::default();
    let check = |module: &str, name: &str| match allowed(module, name) {
        true => Ok(()),
        false => Err(Refusal::Global(format!("{module}.{name}"))),
    };
    loop {
        let code = number::<1>(file)? as u8;
        match code {
            b'.' => return Ok(()),
            // GLOBAL, INST
            b'c' | b'i' => {
                let (module, name) = (line(file)?, line(file)?);
                check(&module, &name)?;
                names.push(None);
            }
            // STACK_GLOBAL takes the two strings on top of the stack. A name computed in another way has something to hide.
            0x93 => {
                let [Some(module), Some(name)] = &names.top else {
                    return Err(Refusal::Global("a name that the file computes".to_string()));
                };
                check(module, name)?;
                names.push(None);
            }
            // EXT1, EXT2, EXT4
            0x82..=0x84 => return Err(Refusal::Global("a name from the extension registry".to_string())),
            // UNICODE; BINUNICODE, SHORT_BINUNICODE, BINUNICODE8; BINSTRING, SHORT_BINSTRING
            b'V' => {
                let text = line(file)?;
                names.push(Some(text));
            }
            b'X' | b'T' => text::<4>(file, &mut names)?,
            0x8C | b'U' => text::<1>(file, &mut names)?,
            0x8D => text::<8>(file, &mut names)?,
            // PUT, BINPUT, LONG_BINPUT, MEMOIZE
            b'p' => {
                let place = line(file)?;
                names.put(decimal(&place)?);
            }
            b'q' => names.put(number::<1>(file)?),
            b'r' => names.put(number::<4>(file)?),
            0x94 => names.put(names.memo.len() as u64),
            // GET, BINGET, LONG_BINGET
            b'g' => {
                let place = line(file)?;
                names.get(decimal(&place)?);
            }
            b'h' => {
                let place = number::<1>(file)?;
                names.get(place);
            }
            b'j' => {
                let place = number::<4>(file)?;
                names.get(place);
            }
            other => {
                skip_argument(file, other)?;
                // FRAME and PROTO leave the stack unchanged.
                if !matches!(other, 0x80 | 0x95) {
                    names.forget();
                }
            }
        }
    }
}

/// The strings that a STACK_GLOBAL may use.
#[derive(Default)]
struct Names {
    /// The two top stack values, where they are strings.
    top: [Option<String>; 2],
    memo: HashMap<u64, Option<String>>,
}

impl Names {
    fn push(&mut self, value: Option<String>) {
        self.top.swap(0, 1);
        self.top[1] = value;
    }

    fn put(&mut self, place: u64) {
        self.memo.insert(place, self.top[1].clone());
    }

    fn get(&mut self, place: u64) {
        let value = self.memo.get(&place).cloned().flatten();
        self.push(value);
    }

    fn forget(&mut self) {
        self.top = [None, None];
    }
}

/// Skips the argument of an opcode that names nothing.
fn skip_argument(file: &mut impl BufRead, code: u8) -> Result<(), Refusal> {
    match code {
        // INT, LONG, FLOAT, STRING, PERSID: one line.
        b'I' | b'L' | b'F' | b'S' | b'P' => drop(line(file)?),
        // BININT1, PROTO; BININT2; BININT; BINFLOAT, FRAME
        b'K' | 0x80 => drop(number::<1>(file)?),
        b'M' => drop(number::<2>(file)?),
        b'J' => drop(number::<4>(file)?),
        b'G' | 0x95 => drop(number::<8>(file)?),
        // LONG1, SHORT_BINBYTES; LONG4, BINBYTES; BINBYTES8, BYTEARRAY8: a length, then the bytes.
        0x8A | b'C' => {
            let length = number::<1>(file)?;
            skip(file, length)?;
        }
        0x8B | b'B' => {
            let length = number::<4>(file)?;
            skip(file, length)?;
        }
        0x8E | 0x96 => {
            let length = number::<8>(file)?;
            skip(file, length)?;
        }
        // No argument: marks, collections, constants, persistent ids, and REDUCE, BUILD, NEWOBJ, OBJ, whose functions and classes were
        // named before.
        b'('
        | b'0'
        | b'1'
        | b'2'
        | b'N'
        | b'R'
        | b'b'
        | b'd'
        | b'l'
        | b't'
        | b's'
        | b'a'
        | b'o'
        | b')'
        | b']'
        | b'}'
        | b'e'
        | b'u'
        | b'Q'
        | 0x81
        | 0x85..=0x89
        | 0x8F..=0x92
        | 0x97
        | 0x98 => {}
        other => return Err(Refusal::Broken(format!("0x{other:02x} is not a pickle opcode"))),
    }
    Ok(())
}

/// A little-endian integer of `N` bytes.
fn number<const N: usize>(file: &mut impl Read) -> Result<u64, Refusal> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes[..N])?;
    Ok(u64::from_le_bytes(bytes))
}

fn decimal(text: &str) -> Result<u64, Refusal> {
    text.trim().parse().map_err(|_| Refusal::Broken(format!("{text:?} is not a memo key")))
}

/// Longest line or string that is kept; names are shorter.
const LONGEST: u64 = 1 << 16;

fn line(file: &mut impl BufRead) -> Result<String, Refusal> {
    let mut bytes = Vec::new();
    file.by_ref().take(LONGEST).read_until(b'\n', &mut bytes)?;
    match bytes.pop() {
        Some(b'\n') => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        _ => Err(Refusal::Broken("a line does not end".to_string())),
    }
}

/// A string after its length of `N` bytes. Skips strings that are too long for a name.
fn text<const N: usize>(file: &mut impl BufRead, names: &mut Names) -> Result<(), Refusal> {
    let length = number::<N>(file)?;
    let mut text = None;
    if length < LONGEST {
        let mut bytes = vec![0; length as usize];
        file.read_exact(&mut bytes)?;
        text = String::from_utf8(bytes).ok();
    } else {
        skip(file, length)?;
    }
    names.push(text);
    Ok(())
}

fn skip(file: &mut impl Read, length: u64) -> Result<(), Refusal> {
    match io::copy(&mut file.by_ref().take(length), &mut io::sink())? {
        passed if passed == length => Ok(()),
        _ => Err(Refusal::from(io::Error::from(io::ErrorKind::UnexpectedEof))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(pickle: &[u8]) -> Option<String> {
        match check_globals(&mut &*pickle, is_of_tensors) {
            Ok(()) => None,
            Err(Refusal::Global(name)) => Some(name),
            Err(Refusal::Broken(problem)) => Some(format!("broken: {problem}")),
        }
    }

    #[test]
    fn a_name_that_tensors_are_not_made_of_is_found_wherever_it_hides() {
        let cases: [(&[u8], &str); 13] = [
            (b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.", "posix.system"),
            (b"cos\nsystem\n(S'ls'\ntR.", "os.system"),
            // Named, put away, and used later.
            (b"\x80\x02cbuiltins\neval\nq\x000]h\x00X\x01\x00\x00\x001\x85Ra.", "builtins.eval"),
            // Named, and never used.
            (b"\x80\x02cbuiltins\neval\n0}.", "builtins.eval"),
            // INST, as Python 2 wrote objects.
            (b"(S'ls'\nios\nsystem\n.", "os.system"),
            // BUILD and NEWOBJ of a class.
            (b"\x80\x02c__main__\nNet\n)\x81}b.", "__main__.Net"),
            // STACK_GLOBAL, after texts of each kind.
            (b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x8c\x02ls\x85R.", "posix.system"),
            (b"\x80\x04X\x05\x00\x00\x00posixVsystem\n\x93.", "posix.system"),
            // Texts from the memory.
            (b"\x80\x04\x8c\x06system\x94\x8c\x05posix\x94h\x01h\x00\x93.", "posix.system"),
            // Another name is put over the text that is fetched.
            (
                b"\x80\x04\x8c\x0bOrderedDictq\x05\x8c\x06systemq\x050\x8c\x0bcollectionsh\x05\x93.",
                "collections.system",
            ),
            // Texts in another order than they were written.
            (b"\x80\x04\x8c\x05posix\x8c\x06system2\x850\x93.", "a name that the file computes"),
            (b"\x80\x02\x82\x01.", "a name from the extension registry"),
            (b"\x80\x02ctorch.storage\n_load_from_bytes\n.", "torch.storage._load_from_bytes"),
        ];
        for (pickle, name) in cases {
            assert_eq!(refused(pickle).as_deref(), Some(name), "{}", String::from_utf8_lossy(pickle));
        }
    }

    #[test]
    fn names_of_tensors_pass() {
        let cases: [&[u8]; 5] = [
            b"\x80\x02ccollections\nOrderedDict\n)R.",
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nctorch\nFloatStorage\nctorch\nbfloat16\n.",
            b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93)R.",
            // Names inside a text are no names.
            b"\x80\x02X\x0d\x00\x00\x00cposix\nsystem.",
            b"(dS'cposix'\nI1\ns.",
        ];
        for pickle in cases {
            assert_eq!(refused(pickle), None, "{}", String::from_utf8_lossy(pickle));
        }
    }

    #[test]
    fn what_is_no_whole_pickle_is_refused() {
        let whole = b"\x80\x04\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93)RX\x05\x00\x00\x00names.";
        for length in 0..whole.len() {
            assert!(refused(&whole[..length]).is_some_and(|problem| problem.starts_with("broken")), "{length} bytes");
        }
        assert_eq!(refused(b"\xff."), Some("broken: 0xff is not a pickle opcode".to_string()));
        assert!(refused(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffX").is_some());
    }
}
