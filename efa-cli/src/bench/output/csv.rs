//! One heading and one line per result, with the same columns for every case.

use super::record::Record;

pub(super) const HEADING: &str = "bench,provider,ranks,algorithm,dtype,op,size,iterations,\
time_min_us,time_p50_us,time_p99_us,time_max_us,time_mean_us,\
mb_per_s,messages_per_s,algbw_gb_per_s,busbw_gb_per_s,wrong";

/// Returns the line of a result; what it does not have is empty. No value of ours needs quotes.
pub(super) fn row(record: &Record) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let times = record.time_us;
    let collective = record.collective;
    [
        record.bench.to_string(),
        record.provider.clone(),
        record.ranks.to_string(),
        text(&record.algorithm),
        text(&record.dtype),
        text(&record.op),
        record.size.to_string(),
        record.iterations.to_string(),
        number(times.map(|times| times.min)),
        number(times.map(|times| times.p50)),
        number(times.map(|times| times.p99)),
        number(times.map(|times| times.max)),
        number(times.map(|times| times.mean)),
        number(record.mb_per_s),
        number(record.messages_per_s),
        number(collective.map(|collective| collective.algbw)),
        number(collective.map(|collective| collective.busbw)),
        collective.map(|collective| collective.wrong.to_string()).unwrap_or_default(),
    ]
    .join(",")
}
