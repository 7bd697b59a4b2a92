//! A program that misuses the library with safe code.

use efa_core::Error;

use super::common;

#[test]
fn a_message_longer_than_the_buffer_for_it_is_an_error_on_tcp() {
    if common::provider() != efa_core::fabric::Provider::Tcp {
        return;
    }
    common::ranks(2, |endpoint| {
        if endpoint.rank() == 0 {
            // The sender learns of it or not, as the provider likes; it must not hang.
            let _ = endpoint.send_blocking(1, 1u32, &[7u8; 100][..]);
        } else {
            let mut buffer = [0u8; 10];
            let error = endpoint.recv_blocking(0, 1u32, &mut buffer[..]).unwrap_err();
            assert!(matches!(error, Error::Truncated { .. }), "{error:?}");
        }
    });
}
