//! Bytes that tell where they belong, for `--check`.

/// Fills a buffer with bytes that depend on `seed` and on their place, so that neither old nor misplaced ones pass.
pub(crate) fn fill(buffer: &mut [u8], seed: u64) {
    for (index, chunk) in buffer.chunks_mut(8).enumerate() {
        let word = word(seed, index as u64);
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// Returns how many bytes of a buffer are not what [`fill`] put there.
pub(crate) fn wrong(buffer: &[u8], seed: u64) -> u64 {
    let differing = |(index, chunk): (usize, &[u8])| {
        let word = word(seed, index as u64);
        chunk.iter().zip(word).filter(|&(&byte, expected)| byte != expected).count() as u64
    };
    buffer.chunks(8).enumerate().map(differing).sum()
}

/// Returns eight bytes by the finaliser of splitmix64, which leaves no pattern between neighbours.
fn word(seed: u64, index: u64) -> [u8; 8] {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_is_right_and_everything_else_is_wrong() {
        for size in [0, 1, 7, 8, 9, 1000] {
            let mut buffer = vec![0; size];
            fill(&mut buffer, 7);
            assert_eq!(wrong(&buffer, 7), 0);
            if size > 8 {
                assert!(wrong(&buffer, 8) > 0, "another seed");
                assert!(wrong(&buffer[1..], 7) > 0, "another place");
            }
            if let Some(last) = buffer.last_mut() {
                *last ^= 1;
                assert_eq!(wrong(&buffer, 7), 1);
            }
        }
    }
}
