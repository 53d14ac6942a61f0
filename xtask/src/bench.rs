//! Every comparison with a peer, both sides measured in one run, as one table of ratios.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Result;
use crate::paths::Paths;

/// Runs the benchmarks whose file names contain one of `names` (all without), and prints their table.
///
/// A benchmark is a program in `benches/` that measures both sides in turn and prints one line of JSON for each comparison:
/// `{"bench", "unit", "better": "higher" | "lower", "ours": [rounds …], "peer": [rounds …], "peer_name", "note"}`.
pub fn bench(paths: &Paths, names: &[String]) -> Result<()> {
    let mut programs: Vec<String> = fs::read_dir(paths.checkout.join("benches"))?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
        .filter(|program| names.is_empty() || names.iter().any(|name| program.contains(name.as_str())))
        .collect();
    programs.sort();
    if programs.is_empty() {
        return Err(format!("no benchmark is called {}. They are the files of benches/", names.join(" or ")).into());
    }
    let mut table = vec![["comparison", "ours", "peer", "ratio", "spread", "peer is"].map(str::to_owned)];
    for program in &programs {
        eprintln!("{program} …");
        let output = Command::new("cargo")
            .args(["bench", "--quiet", "--features", "cli", "--bench", program])
            .current_dir(&paths.checkout)
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("benchmark {program} failed ({})", output.status).into());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        for line in text.lines().filter(|line| line.starts_with('{')) {
            table.push(
                row(&serde_json::from_str(line)?)
                    .ok_or_else(|| format!("benchmark {program} printed an incomplete line: {line}"))?,
            );
        }
    }
    print_table(&table);
    println!(
        "\nratio: how many times better ours is, the median of rounds measured in turn; spread: its smallest and largest."
    );
    Ok(())
}

fn row(result: &Value) -> Option<[String; 6]> {
    let rounds = |side: &str| -> Option<Vec<f64>> { result[side].as_array()?.iter().map(Value::as_f64).collect() };
    let (ours, peer) = (rounds("ours")?, rounds("peer")?);
    let higher = result["better"].as_str()? == "higher";
    let mut ratios: Vec<f64> =
        ours.iter().zip(&peer).map(|(ours, peer)| if higher { ours / peer } else { peer / ours }).collect();
    ratios.sort_by(f64::total_cmp);
    let unit = result["unit"].as_str()?;
    Some([
        result["bench"].as_str()?.to_owned(),
        format!("{} {unit}", significant(median(ours)?)),
        format!("{} {unit}", significant(median(peer)?)),
        format!("{:.2} ×", median(ratios.clone())?),
        format!("{:.2}–{:.2}", ratios.first()?, ratios.last()?),
        result["peer_name"].as_str()?.to_owned(),
    ])
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Four significant digits, as text.
fn significant(value: f64) -> String {
    let digits = 3 - value.abs().max(1e-9).log10().floor() as i32;
    format!("{value:.*}", digits.clamp(0, 6) as usize)
}

fn print_table(rows: &[[String; 6]]) {
    let widths: Vec<usize> =
        (0..6).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    for row in rows {
        let line: Vec<String> = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        println!("{}", line.join("  ").trim_end());
    }
}
