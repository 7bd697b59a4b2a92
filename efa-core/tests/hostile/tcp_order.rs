//! Messages that are received in another order than they were sent, over one connection.

use efa_core::fabric::Provider;

use super::common::{meet, provider, ranks};

#[test]
fn thousands_of_receives_are_served_in_any_order() {
    if provider() != Provider::Tcp {
        return;
    }
    const COUNT: u64 = 5000;
    ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            let receives: Vec<_> =
                (0..COUNT as u32).map(|tag| endpoint.recv(1, tag, vec![0u64; 1])).collect();
            meet(&endpoint);
            for (tag, receive) in receives.into_iter().enumerate() {
                let (_, got) = receive.wait().unwrap();
                assert_eq!(got, [tag as u64]);
            }
        } else {
            meet(&endpoint);
            for number in (0..COUNT).rev() {
                endpoint.send_blocking(0, number as u32, &[number]).unwrap();
            }
        }
    });
}
