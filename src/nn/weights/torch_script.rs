//! Weights in TorchScript archives, which hold a network with its code.
//!
//! libtorch loads these without calling the network's methods, but it evaluates default values, constants and `__setstate__`. An
//! archive that puts a call there is refused, so loading executes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use pytorch_reader::MAX_PICKLE_SIZE;
use tch::{CModule, Device, Tensor};
use zip::ZipArchive;

use super::pickle::is_of_torch_script;
use super::pytorch::{broken, check, problem};
use super::read::TORCH_SCRIPT;
use crate::Result;

type Archive = ZipArchive<BufReader<File>>;

/// Reads the parameters of a TorchScript archive by name, and the torch functions that its code calls.
pub(super) fn read(
    path: &Path,
    archive: &mut Archive,
    root: &str,
) -> Result<(BTreeMap<String, Tensor>, serde_json::Value)> {
    check_names(path, archive)?;
    let mut functions = BTreeSet::new();
    for place in 0..archive.len() {
        let entry = archive.by_index(place).map_err(|error| broken(path, error))?;
        let name = entry.name().to_string();
        let lower = name.to_lowercase();
        let mut entry = BufReader::new(entry.take(MAX_PICKLE_SIZE));
        if [format!("{root}data.pkl"), format!("{root}constants.pkl")]
            .iter()
            .any(|pickle| pickle.to_lowercase() == lower)
        {
            check(path, &mut entry, is_of_torch_script)?;
        } else if lower.ends_with(".py") {
            let mut code = String::new();
            entry.read_to_string(&mut code).map_err(|error| broken(path, error))?;
            functions.extend(code.split("torch.").skip(1).filter_map(|rest| {
                let (name, _) = rest.split_once('(')?;
                name.chars().all(|letter| letter.is_alphanumeric() || letter == '_').then(|| name.to_string())
            }));
            if let Some(line) = runs_on_load(&code) {
                let found = format!("the TorchScript in {name} calls something on loading: `{line}`");
                return Err(problem(
                    path,
                    &found,
                    "Nothing was run. Save only the weights: `torch.save(model.state_dict(), …)`.",
                ));
            }
        }
    }
    let module = CModule::load_on_device(path, Device::Cpu).map_err(|error| {
        let message = error.to_string();
        broken(path, message.lines().next().unwrap_or_default())
    })?;
    let parameters: BTreeMap<String, Tensor> =
        module.named_parameters()?.into_iter().map(|(name, tensor)| (name, tensor.detach())).collect();
    match parameters.is_empty() {
        true => Err(problem(path, "this TorchScript archive has no parameters", "Save it before `torch.jit.freeze`.")),
        false => Ok((parameters, serde_json::json!({ TORCH_SCRIPT: functions }))),
    }
}

/// Refuses archives that libtorch's zip reader could interpret differently from ours.
fn check_names(path: &Path, archive: &mut Archive) -> Result<()> {
    // libtorch ignores case.
    let names: BTreeSet<String> = archive.file_names().map(str::to_lowercase).collect();
    if names.len() != archive.len() || archive.offset() != 0 || !archive.comment().is_empty() {
        return Err(broken(path, "the archive holds two files of one name, or data before or after the archive"));
    }
    Ok(())
}

/// The first line, if any, that calls something when the code is loaded: outside the bodies of functions.
fn runs_on_load(code: &str) -> Option<&str> {
    if let Some(line) = code.lines().find(|line| line.contains("__setstate__")) {
        return Some(line.trim());
    }
    let mut place = 0;
    // Indentation of the function whose body the scan is in.
    let mut function: Option<usize> = None;
    while place < code.len() {
        let rest = &code[place..];
        let line = rest.lines().next().unwrap_or_default();
        let indentation = line.len() - line.trim_start_matches(' ').len();
        if function.is_some_and(|function| indentation > function) || line.trim().is_empty() {
            place += line.len() + 1;
            continue;
        }
        let header = line.trim_start().starts_with("def ");
        function = header.then_some(indentation);
        let statement = match header {
            true => &rest[..header_length(rest)],
            false => line,
        };
        if calls(statement) {
            return Some(line.trim());
        }
        // Skip to the end of the line on which the header ends.
        place += statement.len();
        place += code[place..].find('\n').map_or(code.len() - place, |end| end + 1);
    }
    None
}

/// Length of a function's header: up to the colon outside its brackets.
fn header_length(code: &str) -> usize {
    let mut depth = 0i64;
    let mut quote = None;
    for (place, character) in code.char_indices() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '(' | '[') => depth += 1,
            (None, ')' | ']') => depth -= 1,
            (None, ':') if depth == 0 => return place,
            _ => {}
        }
    }
    code.len()
}

/// Whether a statement contains a call. Skips strings; answers yes for comments and for strings that could hide their end.
fn calls(statement: &str) -> bool {
    let declared = ["class ", "def "].iter().find_map(|word| statement.trim_start().strip_prefix(word));
    let statement = match declared {
        // The bracket after the declared name is not a call.
        Some(rest) => rest.split_once('(').map_or("", |(_, rest)| rest),
        None => statement,
    };
    let mut quote = None;
    let mut last = ' ';
    for character in statement.chars() {
        match (quote, character) {
            (_, '\\' | '#') => return true,
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '(') if last.is_alphanumeric() || matches!(last, '_' | ')' | ']' | '"') => return true,
            _ => {}
        }
        if !character.is_whitespace() {
            last = character;
        }
    }
    quote.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_loading_would_make_are_found_and_others_are_not() {
        let linear = "class Linear(Module):\n  __parameters__ = [\"weight\", ]\n  weight : Tensor\n  \
            __annotations__[\"0\"] = __torch__.Conv2d\n  size : Final[Tuple[int, int]] = (0, 0)\n  mode : Final[str] = \"a(b)\"\n  \
            def forward(self: __torch__.Linear,\n    x: Tensor,\n    size: Tuple[int, int]=(1, 1)) -> Tensor:\n    \
            y = torch.relu(x)\n    return (self).other(y, )\n  def other(self: __torch__.Linear, x: Tensor) -> Tensor:\n    \
            return torch.linear(x, self.weight)\n";
        let functional = "def relu(input: Tensor,\n    inplace: bool=False,\n    name: str=\"mean\") -> Tensor:\n  if inplace:\n    \
            a = torch.relu_(input)\n  return torch.relu(input)\n";
        let cases = [
            (linear.to_string(), None),
            (functional.to_string(), None),
            (
                format!("{linear}  x : Final[Tensor] = torch.from_file(\"f\")\n"),
                Some("x : Final[Tensor] = torch.from_file(\"f\")"),
            ),
            (functional.replace("=False", "=torch.from_file(\"f\")"), Some("def relu(input: Tensor,")),
            (functional.replace("=False", "=torch.from_file (\"f\")"), Some("def relu(input: Tensor,")),
            (functional.replace("\"mean\"", "(f)(1)"), Some("def relu(input: Tensor,")),
            (functional.replace("\"mean\"", "\")\", b: int=f()"), Some("def relu(input: Tensor,")),
            (functional.replace("\"mean\"", "\"\\\"\""), Some("def relu(input: Tensor,")),
            (functional.replace("inplace: bool", "# ) -> int:\n    inplace: bool"), Some("def relu(input: Tensor,")),
            (format!("{functional}a = f()\n"), Some("a = f()")),
            (linear.replace("other", "__setstate__"), Some("return (self).__setstate__(y, )")),
        ];
        for (code, expected) in cases {
            assert_eq!(runs_on_load(&code), expected, "{code}");
        }
    }
}
