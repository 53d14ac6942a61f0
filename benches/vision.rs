//! ResNet-50, CLIP's image tower and Faster R-CNN beside torchvision's and transformers' in eager PyTorch, with the same number of
//! threads, in interleaved rounds; a folder of photographs described by EfficientNet-Lite0 beside its package with Pillow; what describes regions, from the maps of the whole picture and by cutting each region out; and
//! bfloat16 beside single precision, where the processor has it.
//!
//! `cargo bench --bench vision`; prints one line of JSON for each comparison.

mod peer;

use std::error::Error;
use std::path::{Path, PathBuf};

use captionlab::data::images::{Filter, decode, resize};
use captionlab::data::scenes::Scene;
use captionlab::data::{BoundingBox, Dataset, Random};
use captionlab::nn::{ComputeDtype, Normalisation, Weights, write_tensors};
use captionlab::vision::{
    Clip, ClipConfig, Encoder, EncoderConfig, ExtractConfig, FasterRcnn, FasterRcnnConfig, RegionPooling, ResNet,
    ResNetConfig, extract,
};
use captionlab::{Device, Tensor};
use image::RgbImage;
use peer::{Peer, rate};
use tch::Kind;

const BATCH: usize = 8;
const ROUNDS: usize = 5;
const PICTURES: usize = 4;
/// Regions of a picture, besides all of it.
const REGIONS: usize = 19;

/// The most memory, in megabytes, that this process took since this was asked before; not a number where the system does not say.
fn most_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    let is_reset = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    most.filter(|_| is_reset).map_or(f64::NAN, |kibibytes| kibibytes * 1024.0 / 1e6)
}

/// Photographs where they are here, or else scenes of that size.
fn pictures() -> Result<Vec<RgbImage>, Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/flickr30k-sample/flickr30k-images");
    let Ok(entries) = std::fs::read_dir(folder) else {
        let scene = |index| resize(&Scene::generate(1, index).draw(), 500, 375, Filter::Bilinear);
        return Ok((0..PICTURES as u64).map(scene).collect::<Result<_, _>>()?);
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, std::io::Error>>()?;
    paths.sort();
    Ok(paths.iter().take(PICTURES).map(decode).collect::<Result<_, _>>()?)
}

/// All photographs of a folder, from files to features in a cache.
fn photographs(peer: &mut Peer) -> Result<(), Box<dyn Error>> {
    let Ok(dataset) = Dataset::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/flickr30k-sample")) else {
        println!("skipped: the photographs of ../shared are not here");
        return Ok(());
    };
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/flickr30k-sample/flickr30k-images");
    let config = EncoderConfig::new("efficientnet-lite0");
    let ours = |dtype| -> Result<f64, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let encoder = Encoder::load(&EncoderConfig { dtype, ..config.clone() })?;
        let config = ExtractConfig { folder: Some(folder.path().to_path_buf()), ..ExtractConfig::default() };
        let report = extract(&dataset, &encoder, &config, |_| true)?;
        assert_eq!(report.computed, dataset.examples.len());
        Ok(report.computed as f64 / report.seconds)
    };
    let (mut single, mut reduced, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(peer.measure("efficientnet", files.display())?);
        single.push(ours(ComputeDtype::Single)?);
        if ComputeDtype::BFloat16.is_native(Device::Cpu) {
            reduced.push(ours(ComputeDtype::BFloat16)?);
        }
    }
    for (bench, ours) in [("EfficientNet-Lite0", single), ("EfficientNet-Lite0, bfloat16", reduced)] {
        if !ours.is_empty() {
            let line = serde_json::json!({
                "bench": format!("{bench}, a folder of photographs"), "unit": "pictures/s", "better": "higher", "ours": ours,
                "peer": theirs, "peer_name": "efficientnet-lite-pytorch, Pillow",
            });
            println!("{line}");
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let pictures = pictures()?;
    let mut files = vec![folder.path().join("resnet.safetensors"), folder.path().join("detector.safetensors")];
    let mut weights = Weights::new(1, Device::Cpu);
    let resnet = ResNet::new(&ResNetConfig::resnet50(), "", &mut weights)?;
    write_tensors(&files[0], &weights.named(), &serde_json::Value::Null)?;
    let mut config = FasterRcnnConfig::resnet50_coco();
    config.backbone.normalisation = Normalisation::Frozen { epsilon: 1e-5 };
    let mut weights = Weights::new(1, Device::Cpu);
    let detector = FasterRcnn::new(&config, &mut weights)?;
    write_tensors(&files[1], &weights.named(), &serde_json::Value::Null)?;
    for (number, picture) in pictures.iter().enumerate() {
        let path = folder.path().join(format!("{number}.png"));
        picture.save(&path)?;
        files.push(path);
    }
    let mut arguments = vec![tch::get_num_threads().to_string().into()];
    arguments.extend(files.into_iter().map(PathBuf::into_os_string));
    let Some(mut peer) = Peer::start("vision.py", &arguments) else {
        println!("skipped: .venv/bin/python is not here");
        return Ok(());
    };
    let batch = Tensor::randn([BATCH as i64, 3, 224, 224], (Kind::Float, Device::Cpu));
    let classify = || {
        let scores = tch::no_grad(|| resnet.classify(&batch, false)).expect("it has classes");
        assert_eq!(scores.size(), [BATCH as i64, 1000]);
    };
    let clip = Clip::new(&ClipConfig::vit_b_32(), 1, Device::Cpu)?;
    let encode = || assert_eq!(clip.encode_image(&batch).expect("it fits").size(), [BATCH as i64, 512]);
    let detect = || {
        for picture in &pictures {
            assert_eq!(detector.detect(std::slice::from_ref(picture)).expect("it has pixels").len(), 1);
        }
    };
    // The most memory that each takes, with all three networks loaded: of the process, libraries included.
    let (mut memory, mut their_memory) = ([0.0; 3], [0.0; 3]);
    let tasks: [(&str, usize, &dyn Fn()); 3] =
        [("resnet", 2, &classify), ("clip", 2, &encode), ("detect", PICTURES, &detect)];
    for (number, (name, count, task)) in tasks.into_iter().enumerate() {
        peer.measure("memory", 0)?;
        peer.measure(name, count)?;
        their_memory[number] = peer.measure("memory", 0)?;
        most_memory();
        (0..if name == "detect" { 1 } else { count }).for_each(|_| task());
        memory[number] = most_memory();
    }
    let (mut ours, mut theirs) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
    for _ in 0..ROUNDS {
        ours[0].push(rate(2 * BATCH, || (0..2).for_each(|_| classify())));
        theirs[0].push(peer.measure("resnet", 2)?);
        ours[1].push(rate(PICTURES, detect));
        theirs[1].push(peer.measure("detect", PICTURES)?);
        ours[2].push(rate(4 * BATCH, || (0..4).for_each(|_| encode())));
        theirs[2].push(peer.measure("clip", 4)?);
    }
    photographs(&mut peer)?;
    drop(peer);
    // Single precision as before, in rounds of its own.
    let (mut single, mut reduced) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
    let in_bfloat16 = ComputeDtype::BFloat16;
    if in_bfloat16.is_native(Device::Cpu) {
        let resnet = ResNet::new(&ResNetConfig::resnet50(), "", &mut Weights::new(1, Device::Cpu))?;
        let resnet = resnet.with_dtype(in_bfloat16);
        let detector = FasterRcnn::new(&config, &mut Weights::new(1, Device::Cpu))?.with_dtype(in_bfloat16);
        let clip = Clip::new(&ClipConfig::vit_b_32(), 1, Device::Cpu)?.with_dtype(in_bfloat16);
        let reduced_tasks: [&dyn Fn(); 3] = [
            &|| drop(tch::no_grad(|| resnet.classify(&batch, false)).expect("it has classes")),
            &|| drop(clip.encode_image(&batch).expect("it fits")),
            &|| {
                let detect = |picture| drop(detector.detect(std::slice::from_ref(picture)).expect("it has pixels"));
                pictures.iter().for_each(detect);
            },
        ];
        reduced_tasks.iter().for_each(|task| task());
        for _ in 0..ROUNDS {
            for (number, (_, count, task)) in tasks.into_iter().enumerate() {
                let (repeats, pictures) = if number == 2 { (1, count) } else { (4, 4 * BATCH) };
                single[number].push(rate(pictures, || (0..repeats).for_each(|_| task())));
                reduced[number].push(rate(pictures, || (0..repeats).for_each(|_| reduced_tasks[number]())));
            }
        }
    } else {
        println!("skipped: bfloat16, which this processor has not");
    }
    let mut random = Random::new(1);
    let boxes = |picture: &RgbImage, random: &mut Random| -> Vec<BoundingBox> {
        let (width, height) = (picture.width() as f32, picture.height() as f32);
        let mut draw = || {
            let (left, top) = (random.between(0.0, 0.7) * width, random.between(0.0, 0.7) * height);
            let right = left + random.between(0.1, 0.3) * width;
            BoundingBox { left, top, right, bottom: top + random.between(0.1, 0.3) * height }
        };
        (0..=REGIONS).map(|_| draw()).collect()
    };
    let boxes: Vec<_> = pictures.iter().map(|picture| boxes(picture, &mut random)).collect();
    let maps: Vec<_> = pictures.iter().map(|picture| detector.maps(picture)).collect::<Result<_, _>>()?;
    let from_maps = || {
        for (maps, boxes) in maps.iter().zip(&boxes) {
            assert_eq!(detector.describe_in(maps, boxes).size(), [REGIONS as i64 + 1, 1024]);
        }
    };
    let from_crops = || {
        for (picture, boxes) in pictures.iter().zip(&boxes) {
            let described = detector.describe(picture, boxes, RegionPooling::Crop).expect("it has pixels");
            assert_eq!(described.size(), [REGIONS as i64 + 1, 2048]);
        }
    };
    // `regions` looks at a picture once to find things and to describe them from its maps.
    let ([mut aligned, mut aligned_in_all], [mut cropped, mut cropped_in_all]) =
        ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    from_maps();
    for _ in 0..ROUNDS {
        let finding = rate(PICTURES, detect);
        let (maps, crops) = (rate(10 * PICTURES, || (0..10).for_each(|_| from_maps())), rate(PICTURES, from_crops));
        let together = |one: f64, other: f64| 1.0 / (1.0 / one + 1.0 / other);
        aligned.push(maps);
        cropped.push(crops);
        aligned_in_all.push(together(finding, maps));
        cropped_in_all.push(together(finding, crops));
    }
    let torchvision = "torchvision, PyTorch eager";
    let [resnet, detector, clip] = [0, 1, 2].map(|number| (&ours[number], &theirs[number]));
    for (bench, (ours, peer), name) in [
        ("ResNet-50, batches of 8", resnet, torchvision),
        ("CLIP ViT-B/32, batches of 8", clip, "transformers, PyTorch eager"),
        ("Faster R-CNN, photographs", detector, torchvision),
        ("20 regions, maps given", (&aligned, &cropped), "ours, each region cut out"),
        ("20 regions, found and described", (&aligned_in_all, &cropped_in_all), "ours, each region cut out"),
    ] {
        let line = serde_json::json!({
            "bench": bench, "unit": "pictures/s", "better": "higher", "ours": ours, "peer": peer, "peer_name": name,
        });
        println!("{line}");
    }
    const NETWORKS: [&str; 3] = ["ResNet-50", "CLIP ViT-B/32", "Faster R-CNN"];
    for (number, (reduced, single)) in
        reduced.iter().zip(&single).enumerate().filter(|(_, (reduced, _))| !reduced.is_empty())
    {
        let line = serde_json::json!({
            "bench": format!("{}, bfloat16", NETWORKS[number]), "unit": "pictures/s", "better": "higher", "ours": reduced,
            "peer": single, "peer_name": "ours, single precision",
        });
        println!("{line}");
    }
    for (number, name) in NETWORKS.into_iter().enumerate() {
        if !(memory[number].is_finite() && their_memory[number].is_finite()) {
            println!("skipped: the memory of {name}, which this system does not say");
            continue;
        }
        let line = serde_json::json!({
            "bench": format!("{name}, most memory"), "unit": "MB", "better": "lower", "ours": [memory[number]],
            "peer": [their_memory[number]], "peer_name": "Python's process",
        });
        println!("{line}");
    }
    Ok(())
}
