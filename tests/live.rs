//! The live page as browsers and scripts reach it.

mod python;

use std::io::{Cursor, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use captionlab::caption::{Captioner, Decoding};
use captionlab::data::Dataset;
use captionlab::data::scenes::{ClaimScore, Scene, ScenesConfig, claims};
use captionlab::live::{Film, Live, LiveConfig, Models, Source};
use captionlab::train::Run;
use captionlab::vision::{Classify, WordDetectorTraining};
use captionlab::{Error, Result};
use image::{ImageFormat, RgbImage};
use python::python_with;
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};

/// The captioner that ships with the project.
fn captioner() -> Captioner {
    Captioner::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("saved_models/captioner-tiny")).unwrap()
}

fn live() -> Live {
    Live::start(captioner(), LiveConfig::default()).unwrap()
}

/// Where the server listens, and the path of its page.
fn place(url: &str) -> (&str, String) {
    let (address, token) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    (address, format!("/{token}"))
}

/// The answer to a request of these lines, from its status line to its end.
fn ask(address: &str, lines: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "{}\r\n\r\n", lines.join("\r\n")).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A viewer of the page.
struct Viewer(WebSocket<TcpStream>);

impl Viewer {
    /// Comes, and is greeted.
    fn new(url: &str) -> (Self, Value) {
        let (address, path) = place(url);
        let request = format!("ws://{address}{path}channel").into_client_request().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut viewer = Self(tungstenite::client::client(request, stream).unwrap().0);
        let hello = viewer.hear();
        assert_eq!(hello["kind"], "hello");
        (viewer, hello)
    }

    /// The next text.
    fn hear(&mut self) -> Value {
        loop {
            if let Message::Text(text) = self.0.read().unwrap() {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    fn say(&mut self, message: Value) -> Value {
        self.0.send(Message::text(message.to_string())).unwrap();
        self.hear()
    }

    fn show(&mut self, frame: Vec<u8>) -> Value {
        self.0.send(Message::binary(frame)).unwrap();
        self.hear()
    }

    /// How the server closes the channel, after what else it still says.
    fn closed(&mut self) -> (CloseCode, String) {
        loop {
            match self.0.read() {
                Ok(Message::Close(Some(frame))) => return (frame.code, frame.reason.to_string()),
                Ok(_) => {}
                Err(error) => panic!("the channel ended without a word: {error}"),
            }
        }
    }
}

fn jpeg(picture: &RgbImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

/// A scene that no captioner has learnt, as a camera sees it.
fn frame(index: u64) -> Vec<u8> {
    jpeg(&Scene::generate(91, index).draw_at(256))
}

#[test]
fn frames_are_captioned_with_words_boxes_attention_and_times() {
    let live = live();
    let (mut viewer, hello) = Viewer::new(&live.url());
    assert_eq!((&hello["source"], &hello["settings"]["beam"]), (&json!("camera"), &json!(1)));
    assert!(hello["models"][0]["note"].as_str().unwrap().contains("drawings"), "{hello}");
    let mut claims = ClaimScore::default();
    for index in 0..40 {
        let said = viewer.show(frame(index));
        assert_eq!((&said["kind"], &said["frame"]), (&json!("caption"), &json!(index + 1)), "{said}");
        assert_eq!((&said["width"], &said["height"]), (&json!(256), &json!(256)));
        let caption = said["caption"].as_str().unwrap();
        claims.add(&Scene::generate(91, index), caption);
        let words = said["words"].as_array().unwrap();
        assert_eq!(words.iter().map(|word| word["word"].as_str().unwrap()).collect::<Vec<_>>().join(" "), caption);
        let boxes = said["boxes"].as_array().unwrap();
        assert_eq!(boxes[0], json!([0.0, 0.0, 256.0, 256.0]));
        for word in words {
            let attention: f64 =
                word["attention"].as_array().unwrap().iter().map(|weight| weight.as_f64().unwrap()).sum();
            assert!((attention - 1.0).abs() < 1e-4 && word["region"].as_u64().unwrap() < boxes.len() as u64, "{word}");
        }
        let stages = ["wait", "decode", "encode", "speak", "explain", "names"];
        assert!(stages.iter().all(|stage| said["milliseconds"][stage].is_number()), "{said}");
    }
    // The captioner's own figure on scenes is 0.97.
    assert!(claims.precision() > 0.85 && claims.per_caption() > 0.8, "{claims:?}");
}

#[test]
fn knobs_are_turned_and_pictures_of_this_computer_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.jpg"), frame(1)).unwrap();
    std::fs::write(folder.path().join("b.png"), "no picture").unwrap();
    let config = LiveConfig { source: Source::Folder(folder.path().into()), ..LiveConfig::default() };
    let models =
        Models { captioners: vec![("one".into(), captioner()), ("two".into(), captioner())], classifier: None };
    let live = Live::start(models, config).unwrap();
    let (mut viewer, hello) = Viewer::new(&live.url());
    assert_eq!(hello["source"], "folder");

    let settings = viewer.say(json!({ "kind": "settings", "beam": 5, "model": "two" }));
    assert_eq!(settings["settings"], json!({ "model": "two", "temperature": 0.0, "beam": 5 }));
    let said = viewer.say(json!({ "kind": "next", "source": "folder" }));
    assert_eq!((&said["name"], &said["model"]), (&json!("a.jpg"), &json!("two")), "{said}");
    let others = said["others"].as_array().unwrap();
    assert!(others.len() >= 2 && others[0]["log_probability"].as_f64() <= said["log_probability"].as_f64(), "{said}");
    // A picture that cannot be read is named, and the next one comes.
    let problem = viewer.say(json!({ "kind": "next", "source": "folder" }));
    assert!(problem["message"].as_str().unwrap().contains("b.png"), "{problem}");
    assert_eq!(viewer.say(json!({ "kind": "next", "source": "folder" }))["name"], "a.jpg");

    // A temperature takes the beam back, and draws other words each time.
    let settings = viewer.say(json!({ "kind": "settings", "temperature": 1.5 }));
    assert_eq!(settings["settings"], json!({ "model": "two", "temperature": 1.5, "beam": 1 }));
    let drawn: std::collections::BTreeSet<String> =
        (0..8).map(|_| viewer.show(frame(3))["caption"].as_str().unwrap().to_string()).collect();
    assert!(drawn.len() > 1, "{drawn:?}");

    let said = viewer.say(json!({ "kind": "next", "source": "scenes" }));
    assert_eq!(said["truth"].as_array().unwrap().len(), 5, "{said}");
    // Other viewers have knobs of their own.
    assert_eq!(Viewer::new(&live.url()).1["settings"], json!({ "model": "one", "temperature": 0.0, "beam": 1 }));
}

#[test]
fn bad_messages_are_answered_with_what_is_wrong_and_the_server_goes_on() {
    let live = live();
    let (mut viewer, _) = Viewer::new(&live.url());
    let good = frame(1);
    for (bad, word) in [
        (Vec::new(), "empty"),
        (b"binary garbage \x00\xFF".to_vec(), "the frame"),
        (b"GIF89a and no more".to_vec(), "the frame"),
        (good[..good.len() / 2].to_vec(), "the frame"),
        (jpeg(&RgbImage::new(6000, 4000)), "6000×4000"),
        (vec![0xFF; 3 << 20], "bytes"),
    ] {
        let problem = viewer.show(bad);
        assert_eq!(problem["kind"], "problem", "{word}: {problem}");
        assert!(problem["message"].as_str().unwrap().contains(word), "{word}: {problem}");
    }
    for (bad, word) in [
        ("no JSON", "JSON"),
        ("{}", "does not know"),
        (r#"{"kind": "settings", "temperature": 9}"#, "0..=2"),
        (r#"{"kind": "settings", "temperature": -1}"#, "0..=2"),
        (r#"{"kind": "settings", "beam": 0}"#, "1..=10"),
        (r#"{"kind": "settings", "beam": "many"}"#, "1..=10"),
        (r#"{"kind": "settings", "model": "nobody"}"#, "captioner"),
        (r#"{"kind": "next", "source": "/etc"}"#, "/etc"),
    ] {
        viewer.0.send(Message::text(bad)).unwrap();
        let problem = viewer.hear();
        assert!(problem["message"].as_str().unwrap().contains(word), "{bad}: {problem}");
        if bad.contains("settings") {
            assert_eq!(viewer.hear()["settings"]["beam"], 1);
        }
    }
    // The smallest picture is one too.
    for (width, height) in [(1, 1), (1, 300), (300, 1)] {
        let said = viewer.show(jpeg(&RgbImage::new(width, height)));
        assert!(["caption", "problem"].contains(&said["kind"].as_str().unwrap()), "{said}");
    }
    assert_eq!(viewer.show(good.clone())["kind"], "caption");
    // What is larger than any frame is not even read.
    viewer.0.send(Message::binary(vec![0; 9 << 20])).ok();
    assert_eq!(viewer.closed().0, CloseCode::Size);
    assert_eq!(Viewer::new(&live.url()).0.show(good)["kind"], "caption");
}

#[test]
fn a_request_without_the_token_or_from_another_page_is_refused() {
    let live = live();
    let url = live.url();
    let (address, page) = place(&url);
    let wrong = format!("/{}/", "0".repeat(32));
    let get = |path: &str| format!("GET {path} HTTP/1.1");
    let upgrade = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let channel = get(&format!("{page}channel"));
    let own = format!("Host: {address}");
    let channel_of = |headers: &[&str]| ask(address, &[&[channel.as_str()], headers, &upgrade[..]].concat());
    let cases = [
        (ask(address, &[&get(&page), &own]), "200"),
        (ask(address, &[&format!("HEAD {page} HTTP/1.1"), &own]), "200"),
        (ask(address, &[&get(page.trim_end_matches('/')), &own]), "308"),
        (ask(address, &[&get("/"), &own]), "403"),
        (ask(address, &[&get(&wrong), &own]), "403"),
        (ask(address, &[&get(&format!("{page}nothing")), &own]), "404"),
        (ask(address, &[&get(&format!("{page}../../etc/passwd")), &own]), "404"),
        (ask(address, &[&format!("POST {page} HTTP/1.1"), &own]), "405"),
        (ask(address, &[&get(&page)]), "400"),
        (ask(address, &["not HTTP at all"]), "400"),
        (ask(address, &[&get(&page), &own, &format!("X: {}", "x".repeat(20_000))]), "431"),
        (ask(address, &[&get(&page), "Host: evil.example"]), "403"),
        (ask(address, &[&channel, &own]), "400"),
        (channel_of(&[&own, "Origin: https://evil.example"]), "403"),
        (channel_of(&["Host: evil.example", "Origin: http://evil.example"]), "403"),
        (ask(address, &[&[get(&format!("{wrong}channel")).as_str(), &own], &upgrade[..]].concat()), "403"),
    ];
    for (number, (answer, status)) in cases.iter().enumerate() {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "case {number}: {answer:.200}");
    }
    let (head, body) = cases[0].0.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Security-Policy: default-src 'none'; script-src 'self'"), "{head}");
    assert!(body.contains("<html") && !body.contains("<script>"), "{body}");
    assert!(cases[1].0.ends_with("\r\n\r\n"));
    // No message says the token, and neither does a value that is printed.
    let token = page.trim_matches('/');
    assert!(cases.iter().skip(3).all(|(answer, _)| !answer.contains(token)));
    assert!(!format!("{live:?}").contains(token));
}

#[test]
fn the_newest_frame_is_captioned_and_never_a_queue() {
    let live = live();
    let (mut viewer, _) = Viewer::new(&live.url());
    for index in 0..30 {
        viewer.0.write(Message::binary(frame(index))).unwrap();
    }
    viewer.0.flush().unwrap();
    let mut answers = 0;
    loop {
        let said = viewer.hear();
        answers += 1;
        if said["frame"] == 30 {
            assert_eq!(said["superseded"].as_u64().unwrap(), 30 - answers);
            break;
        }
    }
    assert!(answers < 15, "{answers} of 30 frames were looked at");
}

#[test]
fn slow_silent_and_flooding_clients_do_not_keep_viewers_from_their_captions() {
    let live = live();
    let url = live.url();
    let (address, page) = place(&url);
    let (mut viewer, _) = Viewer::new(&url);
    // Half a head each, and no more: they are cut off after some seconds.
    let mut half_open: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    half_open.iter_mut().for_each(|stream| write!(stream, "GET {page} HTTP/1.1\r\nHost: loc").unwrap());
    assert_eq!(viewer.show(frame(1))["kind"], "caption");
    // Far more than it takes: the rest is turned away at once.
    let many: Vec<TcpStream> = (0..1000).filter_map(|_| TcpStream::connect(address).ok()).collect();
    assert_eq!(viewer.show(frame(2))["kind"], "caption");
    drop(many);
    half_open[0].set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    assert_eq!(half_open[0].read(&mut [0; 10]).unwrap(), 0, "a half-open connection was kept");
    // One that never stops talking.
    let (mut flood, _) = Viewer::new(&url);
    let words = Message::text(json!({ "kind": "alive" }).to_string());
    while flood.0.send(words.clone()).is_ok() {}
    assert_eq!(viewer.show(frame(3))["kind"], "caption");
    // One that leaves in the middle of a frame.
    let (mut leaving, _) = Viewer::new(&url);
    leaving.0.get_mut().write_all(&[0x82, 0xFE, 0x10, 0x00, 1, 2, 3, 4, 5]).unwrap();
    drop(leaving);
    assert_eq!(viewer.show(frame(4))["kind"], "caption");
}

/// A classifier that fails on dark pictures, and worse on bright ones.
struct Moody;

impl Classify for Moody {
    fn name(&self) -> &str {
        "moody"
    }

    fn classify(&self, picture: &RgbImage) -> Result<Vec<(String, f64)>> {
        match picture.get_pixel(0, 0)[0] {
            0..50 => Err(Error::argument("it is too dark", "Switch the light on.")),
            200.. => panic!("it is too bright"),
            _ => Ok(vec![("grey".into(), 0.75)]),
        }
    }
}

#[test]
fn a_model_that_fails_on_a_frame_says_so_and_takes_the_next() {
    let models = Models { classifier: Some(Box::new(Moody)), ..captioner().into() };
    let live = Live::start(models, LiveConfig::default()).unwrap();
    let (mut viewer, hello) = Viewer::new(&live.url());
    assert_eq!(hello["classifier"]["name"], "moody");
    let grey = |value: u8| jpeg(&RgbImage::from_pixel(64, 64, image::Rgb([value; 3])));
    for (value, words) in [(10, "too dark"), (250, "too bright")] {
        let problem = viewer.show(grey(value));
        assert!(problem["message"].as_str().unwrap().contains(words), "{problem}");
        let said = viewer.show(grey(120));
        assert_eq!(said["names"], json!([{ "name": "grey", "probability": 0.75 }]), "{said}");
    }
}

#[test]
fn a_page_that_stops_says_goodbye_and_frees_its_port() {
    let mut first = live();
    let (mut viewer, _) = Viewer::new(&first.url());
    first.stop();
    assert_eq!(viewer.hear()["kind"], "goodbye");
    assert_eq!(viewer.closed().0, CloseCode::Away);
    assert!(!first.is_running() && first.to_string() == "the live page is stopped");
    // The next one takes the port.
    let config = LiveConfig { port: first.port(), ..LiveConfig::default() };
    let second = Live::start(captioner(), config.clone()).unwrap();
    let (mut viewer, _) = Viewer::new(&second.url());
    // As when a cell is run again: the page before still has the port. Pages that are open find the new one by the same address.
    let third = Live::start(captioner(), config.clone()).unwrap();
    assert_eq!(viewer.closed().0, CloseCode::Away);
    assert_eq!((second.url(), second.is_running()), (third.url(), false));
    assert_eq!(Viewer::new(&third.url()).0.show(frame(1))["kind"], "caption");
    drop((second, third));

    // One that no variable holds is dropped as soon as a notebook has shown it, and goes on; others end when they are dropped.
    let shown = live();
    shown.evcxr_display();
    let url = shown.url();
    drop(shown);
    assert_eq!(Viewer::new(&url).0.show(frame(2))["kind"], "caption");
    let held = live();
    let (address, url) = (place(&held.url()).0.to_string(), held.url());
    assert_eq!(Viewer::new(&url).0.show(frame(2))["kind"], "caption");
    drop(held);
    assert!(TcpStream::connect(address).is_err());

    // A port of another program is left alone.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = LiveConfig { port: other.local_addr().unwrap().port(), ..config };
    let problem = Live::start(captioner(), config.clone()).unwrap_err().to_string();
    assert!(problem.contains(&format!("port {}", config.port)) && problem.contains("name another port"), "{problem}");
    for (config, word) in [
        (LiveConfig { source: Source::Folder("/nowhere".into()), ..LiveConfig::default() }, "/nowhere"),
        (LiveConfig { address: "192.0.2.1".parse().unwrap(), ..LiveConfig::default() }, "192.0.2.1"),
    ] {
        let problem = Live::start(captioner(), config).unwrap_err().to_string();
        assert!(problem.contains(word), "{problem}");
    }
    let problem = Live::start(Models::default(), LiveConfig::default()).unwrap_err().to_string();
    assert!(problem.contains("no captioner"), "{problem}");
}

#[test]
fn four_viewers_have_their_turns_alike() {
    let live = live();
    let url = live.url();
    let until = Instant::now() + Duration::from_secs(3);
    let counts: Vec<u32> = std::thread::scope(|scope| {
        let viewers: Vec<_> = (0..4)
            .map(|viewer| {
                let url = &url;
                scope.spawn(move || {
                    let (mut viewer_of, _) = Viewer::new(url);
                    let mut captions = 0;
                    while Instant::now() < until {
                        assert_eq!(viewer_of.show(frame(viewer))["kind"], "caption");
                        captions += 1;
                    }
                    captions
                })
            })
            .collect();
        viewers.into_iter().map(|viewer| viewer.join().unwrap()).collect()
    });
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*least > 0 && most - least <= 2 + most / 4, "{counts:?}");
}

#[test]
fn captions_of_a_film_are_mostly_true() {
    let captioner = captioner();
    let mut claims = ClaimScore::default();
    // One frame of each of 30 scenes.
    for shot in Film::new(1, 3).step_by(3).take(30) {
        let said = captioner.describe(&shot.picture, &Decoding::greedy()).unwrap();
        claims.add(&shot.scene, &said.captions[0].text);
    }
    assert!(claims.precision() > 0.8 && claims.per_caption() > 0.8, "{claims:?}");
}

#[test]
fn a_training_is_watched_as_it_runs_and_stopped_by_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = Dataset::scenes(&ScenesConfig { train: 64, validation: 8, test: 0, seed: 5 }).unwrap();
    let mut training = WordDetectorTraining::scenes();
    training.run.folder = Some(folder.path().join("eye-1"));
    training.run.epochs = 1000;
    training.run.batch_size = 8;
    let mut run = Run::start(&training, &dataset).unwrap();
    let watched = run.watch().unwrap();
    assert_eq!(watched.url(), run.watch().unwrap().url());
    let (mut viewer, hello) = Viewer::new(&watched.url());
    assert_eq!((&hello["page"], &hello["run"]), (&json!("training"), &json!("eye-1")));

    let (mut pictures, deadline) = (hello["pictures"].clone(), Instant::now() + Duration::from_secs(120));
    let status = loop {
        let mut status = viewer.say(json!({ "kind": "status" }));
        // Once the data is ready, the page is told of the pictures.
        if status["kind"] == "hello" {
            pictures = status["pictures"].clone();
            status = viewer.hear();
        }
        if status["samples"].as_array().unwrap().len() > 1 {
            break status;
        }
        assert!(Instant::now() < deadline, "no epoch has ended: {status}");
        sleep(Duration::from_millis(50));
    };
    // A small epoch may be validating already.
    assert!(["training", "validating"].contains(&status["phase"].as_str().unwrap()), "{status}");
    assert_eq!(status["running"], true);
    assert!(status["curves"]["training_loss"].as_array().unwrap().len() > 8, "{status}");
    assert!(status["curves"]["validation_loss"][0][1].is_f64(), "{status}");
    // What it says of the fixed pictures stands beside them.
    let first = &status["samples"][0]["samples"][0];
    assert_eq!((&first["name"], pictures[0]["references"].as_array().unwrap().len()), (&pictures[0]["name"], 5));
    let url = watched.url();
    let (address, page) = place(&url);
    let picture = format!("GET {page}{} HTTP/1.1", pictures[0]["url"].as_str().unwrap());
    assert!(ask(address, &[&picture, "Host: localhost"]).contains("Content-Type: image/png"));

    assert_eq!(viewer.say(json!({ "kind": "stop" }))["stopping"], true);
    run.wait().unwrap();
    let ended = viewer.say(json!({ "kind": "status" }));
    assert_eq!((&ended["phase"], &ended["running"]), (&json!("stopped"), &json!(false)), "{ended}");
    // The page outlives the run in its cell, and tells how it ended when it goes.
    drop(run);
    assert_eq!(viewer.say(json!({ "kind": "status" }))["phase"], "stopped");
    watched.stop();
    assert_eq!((viewer.hear()["phase"].clone(), viewer.hear()["kind"].clone()), (json!("stopped"), json!("goodbye")));
}

/// A browser of this computer, where there is one.
fn chromium() -> Option<std::path::PathBuf> {
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}

#[test]
fn the_pages_work_in_a_browser() {
    let Some(mut python) = python_with("playwright axe_playwright_python jupyterlab jupyter_server_proxy") else {
        return;
    };
    let Some(chromium) = chromium() else {
        println!("skipped: Chromium is not here");
        return;
    };
    // A scene that the captioner describes rightly, for the camera.
    let captioner = captioner();
    let is_right = |scene: &Scene, caption: &str| {
        let claims = claims(caption);
        !claims.is_empty() && claims.iter().all(|claim| scene.is_true(claim))
    };
    let scene = (0..)
        .map(|index| Scene::generate(91, index))
        .find(|scene| {
            let said = captioner.describe(&scene.draw_at(256), &Decoding::greedy()).unwrap();
            is_right(scene, &said.captions[0].text)
        })
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    scene.draw_at(256).save(folder.path().join("scene.png")).unwrap();
    let live = Live::start(captioner, LiveConfig::default()).unwrap();
    std::fs::write(folder.path().join("notebook.html"), live.html()).unwrap();

    let browsed = python
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live_browser.py"))
        .args([chromium.as_os_str(), env!("CARGO_BIN_EXE_captionlab").as_ref(), folder.path().as_os_str()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&browsed.stdout);
    println!("{text}");
    assert!(browsed.status.success(), "{text}{}", String::from_utf8_lossy(&browsed.stderr));
    let captions: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("caption: ")).collect();
    assert!(!captions.is_empty() && captions.iter().all(|caption| is_right(&scene, caption)), "{captions:?}");
}
