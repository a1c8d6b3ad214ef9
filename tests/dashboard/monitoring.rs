//! The metrics that the alert rules and the Grafana dashboard of docs/monitoring ask for are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use millpond::dashboard::Source;

use crate::pond::stocked;

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("millpond_")).collect()
}

#[tokio::test]
async fn the_alert_rules_and_the_grafana_dashboard_ask_for_metrics_that_exist() {
    let at = stocked().await;
    let text = at.source.metrics().await.unwrap();
    // Without plugins there is no line of theirs, but each family is there.
    let totals = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"));
    let totals: Vec<_> = totals.map(|family| format!("{family}_total")).collect();
    let told: BTreeSet<_> = names(&text).into_iter().chain(totals.iter().map(String::as_str)).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring");
    for file in ["alerts.yaml", "grafana.json"] {
        let asked = fs::read_to_string(folder.join(file)).unwrap();
        let asked = names(&asked);
        assert!(asked.len() > 3, "{file}: {asked:?}");
        assert!(asked.is_subset(&told), "{file}: {:?} are not told", asked.difference(&told));
    }
    at.close().await;
}

#[tokio::test]
async fn the_metrics_are_openmetrics() {
    let at = stocked().await;
    let text = at.source.metrics().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("millpond_jobs{queue=\"crm\",state=\"dead\"} 3\n"), "{text}");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a name and a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let family = name.split('{').next().unwrap().trim_end_matches("_total");
        assert!(text.contains(&format!("# TYPE {family} ")), "{line}");
    }
    at.close().await;
}
