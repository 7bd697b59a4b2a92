//! Bytes that tell where they come from.

use crate::random::Random;

/// Which bytes: a function of the job, the sender and the number of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) job: u64,
    pub(crate) sender: usize,
    pub(crate) number: u64,
}

impl Payload {
    /// Writes the payload's first `into.len()` bytes.
    pub(crate) fn fill(self, into: &mut [u8]) {
        let mut random = self.random();
        for chunk in into.chunks_mut(8) {
            chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
        }
    }

    /// Checks bytes that start `offset` bytes into the payload; `offset` is a multiple of 8. Returns what is wrong.
    pub(crate) fn check(self, offset: usize, got: &[u8]) -> Result<(), String> {
        let mut random = self.random();
        for _ in 0..offset / 8 {
            random.next();
        }
        for (index, chunk) in got.chunks(8).enumerate() {
            let expected = random.next().to_le_bytes();
            if *chunk != expected[..chunk.len()] {
                let at = offset + index * 8;
                let shown = &expected[..chunk.len()];
                return Err(format!(
                    "message {} of rank {}: bytes from {at} of {} are {chunk:02x?}, not {shown:02x?}",
                    self.number,
                    self.sender,
                    got.len()
                ));
            }
        }
        Ok(())
    }

    fn random(self) -> Random {
        Random::new(&[self.job, self.sender as u64, self.number])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_another_message_or_place_are_noticed() {
        let payload = Payload { job: 1, sender: 2, number: 3 };
        let mut bytes = vec![0; 1001];
        payload.fill(&mut bytes);
        payload.check(0, &bytes).unwrap();
        payload.check(16, &bytes[16..]).unwrap();
        assert!(payload.check(8, &bytes[16..]).is_err());
        assert!(Payload { number: 4, ..payload }.check(0, &bytes).is_err());
        bytes[1000] ^= 1;
        assert!(payload.check(0, &bytes).unwrap_err().contains("from 1000"));
    }
}
