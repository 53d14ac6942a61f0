//! Prefixes that training programs add to names: `module.`, `model.`, `_orig_mod.` …

use std::cmp::Reverse;
use std::collections::BTreeMap;

use tch::Tensor;

/// Name parts inserted anywhere by `torch.compile`, FSDP, activation checkpointing and Lightning Fabric.
const RESERVED: [&str; 4] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module"];

/// The counter of `torch.optim.swa_utils.AveragedModel`.
const COUNTER: &str = "n_averaged";

/// The same tensors under the names that a network asks for, where all share a prefix that it does not ask for.
///
/// `None` where the names already fit, and where no prefix makes them fit.
pub(crate) fn unwrapped(
    tensors: &BTreeMap<String, Tensor>,
    asks_for: impl Fn(&str) -> bool,
) -> Option<BTreeMap<String, Tensor>> {
    let plain = |name: &str| -> String {
        match asks_for(name) {
            true => name.to_string(),
            false => name.split('.').filter(|part| !RESERVED.contains(part)).collect::<Vec<_>>().join("."),
        }
    };
    let names: Vec<(String, &Tensor)> =
        tensors.iter().filter(|(name, _)| *name != COUNTER).map(|(name, tensor)| (plain(name), tensor)).collect();
    let known = |end: usize| names.iter().filter(|(name, _)| asks_for(&name[end..])).count();
    // A shared prefix ends at a dot of the first name; take the shortest of those that match most names.
    let first = &names.first()?.0;
    let ends = first.match_indices('.').map(|(place, _)| place + 1);
    let shared = ends.take_while(|&end| names.iter().all(|(name, _)| name.starts_with(&first[..end])));
    let best = shared.map(|end| (known(end), Reverse(end))).max();
    let end = match best {
        Some((count, Reverse(end))) if count > 0 && known(0) == 0 => end,
        _ => 0,
    };
    let unwrapped: BTreeMap<String, Tensor> =
        names.iter().map(|(name, tensor)| (name[end..].to_string(), tensor.shallow_clone())).collect();
    // Two names that differ only in their wrapping are two tensors.
    let is_better = unwrapped.len() == names.len() && known(end) > tensors.keys().filter(|name| asks_for(name)).count();
    is_better.then_some(unwrapped)
}

/// The prefix under which all requested tensors exist, beside tensors without it.
pub(super) fn prefix_of<'a>(
    tensors: &'a BTreeMap<String, Tensor>,
    mut asked_for: impl Iterator<Item = &'a String>,
) -> Option<&'a str> {
    let first = asked_for.next()?;
    let rest: Vec<&String> = asked_for.collect();
    let prefixes = tensors.keys().filter_map(|name| name.strip_suffix(first.as_str()));
    let mut prefixes = prefixes.filter(|prefix| prefix.ends_with('.'));
    prefixes.find(|prefix| rest.iter().all(|name| tensors.contains_key(&format!("{prefix}{name}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_all_names_share_and_the_network_does_not_ask_for_is_taken_off() {
        let asked_for = ["backbone.conv.weight", "head.weight", "head.bias"];
        // The names of a file, and whether the network finds its own ones in it.
        let cases: [(&[&str], bool); 15] = [
            (&["module.backbone.conv.weight", "module.head.weight", "module.head.bias"], true),
            (&["model.backbone.conv.weight", "model.head.weight", "model.head.bias"], true),
            (&["_orig_mod.backbone.conv.weight", "_orig_mod.head.weight", "_orig_mod.head.bias"], true),
            (&["module._orig_mod.backbone.conv.weight", "module._orig_mod.head.weight"], true),
            (&["_orig_mod.module.backbone.conv.weight", "_orig_mod.module.head.weight"], true),
            (&["my.own.detector.backbone.conv.weight", "my.own.detector.head.weight"], true),
            (&["module.backbone._orig_mod.conv.weight", "module.head.weight"], true),
            (&["backbone._orig_mod.conv.weight", "head.weight"], true),
            (&["_fsdp_wrapped_module.backbone.conv._checkpoint_wrapped_module.weight"], true),
            (&["module.backbone.conv.weight", "module.head.weight", "module.more.weight"], true),
            // What averages weights counts them.
            (&["n_averaged", "module.backbone.conv.weight", "module.head.weight"], true),
            // One name alone has no prefix: it is the network's, or that of another one.
            (&["module.backbone.conv.weight", "head.weight"], false),
            (&["module.backbone.conv.weight", "criterion.weight"], false),
            (&["module.other.weight", "module.another.weight"], false),
            (&[], false),
        ];
        for (names, is_found) in cases {
            let tensors = names.iter().map(|name| (name.to_string(), Tensor::from(1.0f32))).collect();
            let found = unwrapped(&tensors, |name| asked_for.contains(&name));
            assert_eq!(found.is_some(), is_found, "{names:?}");
            let found = found.unwrap_or_default();
            assert!(!is_found || found.contains_key("backbone.conv.weight"), "{names:?}: {:?}", found.keys());
        }
    }

    #[test]
    fn names_that_a_network_asks_for_keep_their_prefix() {
        let names = ["model.weight", "model.model.weight"];
        let tensors: BTreeMap<String, Tensor> =
            names.iter().map(|name| (name.to_string(), Tensor::from(1.0f32))).collect();
        assert!(unwrapped(&tensors, |name| name == "model.weight").is_none());
        // Of two names that would become one, neither is lost.
        let twice = ["a._orig_mod.weight", "a.weight"].map(|name| (name.to_string(), Tensor::from(1.0f32)));
        assert!(unwrapped(&BTreeMap::from(twice), |name| name == "weight").is_none());
    }
}
