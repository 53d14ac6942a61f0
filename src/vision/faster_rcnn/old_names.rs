//! Former names of published weights.

use std::collections::BTreeMap;

use tch::Tensor;

/// Renames the weights of torchvision's Faster R-CNN from former to present names.
///
/// The file of 2019 has `rpn.head.conv.weight` for today's `rpn.head.conv.0.0.weight`, and `backbone.fpn.inner_blocks.0.weight` for
/// `backbone.fpn.inner_blocks.0.0.weight` (`layer_blocks` likewise). Where a file has both names, the present one wins.
pub fn rename_faster_rcnn(tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let (renamed, mut present): (Vec<_>, BTreeMap<_, _>) = {
        let mut renamed = Vec::new();
        let mut present = BTreeMap::new();
        for (name, tensor) in tensors {
            match present_name(&name) {
                Some(now) => renamed.push((now, tensor)),
                None => drop(present.insert(name, tensor)),
            }
        }
        (renamed, present)
    };
    for (name, tensor) in renamed {
        present.entry(name).or_insert(tensor);
    }
    present
}

/// The present name for a former `name`.
fn present_name(name: &str) -> Option<String> {
    let (module, kind) = name.rsplit_once('.')?;
    if !matches!(kind, "weight" | "bias") {
        return None;
    }
    if module == "rpn.head.conv" {
        return Some(format!("{module}.0.0.{kind}"));
    }
    let block =
        module.strip_prefix("backbone.fpn.inner_blocks.").or(module.strip_prefix("backbone.fpn.layer_blocks."))?;
    block.parse::<u32>().ok().map(|_| format!("{module}.0.{kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_become_the_present_ones_which_stay_as_they_are() {
        let cases = [
            ("rpn.head.conv.weight", "rpn.head.conv.0.0.weight"),
            ("rpn.head.conv.bias", "rpn.head.conv.0.0.bias"),
            ("rpn.head.conv.0.0.weight", "rpn.head.conv.0.0.weight"),
            ("rpn.head.cls_logits.weight", "rpn.head.cls_logits.weight"),
            ("backbone.fpn.inner_blocks.0.weight", "backbone.fpn.inner_blocks.0.0.weight"),
            ("backbone.fpn.inner_blocks.3.bias", "backbone.fpn.inner_blocks.3.0.bias"),
            ("backbone.fpn.layer_blocks.2.weight", "backbone.fpn.layer_blocks.2.0.weight"),
            ("backbone.fpn.layer_blocks.2.0.weight", "backbone.fpn.layer_blocks.2.0.weight"),
            ("backbone.fpn.inner_blocks.0.0.bias", "backbone.fpn.inner_blocks.0.0.bias"),
            ("backbone.body.layer1.0.conv1.weight", "backbone.body.layer1.0.conv1.weight"),
            ("weight", "weight"),
        ];
        for (old, present) in cases {
            let tensors = BTreeMap::from([(old.to_string(), Tensor::from(1.0f32))]);
            let names: Vec<String> = rename_faster_rcnn(tensors).into_keys().collect();
            assert_eq!(names, [present], "{old}");
        }
    }

    #[test]
    fn of_two_names_of_a_weight_the_present_one_counts() {
        let both = ["rpn.head.conv.bias", "rpn.head.conv.0.0.bias"];
        let tensors = both.iter().zip([1.0f32, 2.0]).map(|(name, value)| (name.to_string(), Tensor::from(value)));
        let renamed = rename_faster_rcnn(tensors.collect());
        assert_eq!(renamed.len(), 1);
        assert_eq!(renamed["rpn.head.conv.0.0.bias"].double_value(&[]), 2.0);
    }
}
