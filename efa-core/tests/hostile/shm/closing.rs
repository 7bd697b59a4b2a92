//! An endpoint that closes: whatever was under way, nobody's memory changes and no message is wrong.

use efa_core::memory::Access;
use efa_core::{Endpoint, Error};

use super::again::{self, Again};
use super::process;
use super::{LONG, common, impatient, is_ours};

#[test]
fn an_endpoint_outlives_another_of_its_process() {
    if !is_ours() {
        return;
    }
    let (mut endpoints, _) = common::endpoints(3, impatient());
    let (closed, other) = (endpoints.pop().unwrap(), endpoints.pop().unwrap());
    let endpoint = endpoints.pop().unwrap();
    // They know each other.
    let hello = other.send(0, 1u32, vec![1u8; 8]);
    endpoint.recv_blocking(1, 1u32, &mut [0u8; 8]).unwrap();
    hello.wait().unwrap();
    let hello = closed.send(0, 1u32, vec![1u8; LONG]);
    endpoint.recv_blocking(2, 1u32, &mut vec![0u8; LONG]).unwrap();
    hello.wait().unwrap();
    // One of its messages is still here.
    let late = closed.send(0, 2u32, vec![2u8; LONG]);
    drop(closed);
    drop(late);
    let mut got = vec![0u8; LONG];
    assert!(endpoint.recv_blocking(2, 2u32, &mut got).is_err() || got == vec![2; LONG]);
    // A message to it goes nowhere, which is not an error that this end learns of.
    let _ = endpoint.send_blocking(2, 3u32, &[3u8; 1000]);
    let send = other.send(0, 4u32, vec![4u8; LONG]);
    let mut got = vec![0u8; LONG];
    endpoint.recv_blocking(1, 4u32, &mut got).unwrap();
    send.wait().unwrap();
    assert!(got == vec![4; LONG]);
}

#[test]
fn a_message_that_its_sender_gave_up_is_never_received() {
    if !is_ours() {
        return;
    }
    let (mut endpoints, _) = common::endpoints(2, impatient());
    let (receiver, sender) = (endpoints.pop().unwrap(), endpoints.pop().unwrap());
    let (sent, mut buffer) = common::both(sender.send(1, 1u32, vec![1u8; LONG]).wait());
    // With segments the receiver sets it aside, and it is sent.
    assert!(matches!(sent, Ok(_) | Err(Error::Timeout { .. })), "{sent:?}");
    // It is ours again, so it may be used for anything.
    buffer.fill(2);
    let mut got = vec![0u8; LONG];
    match receiver.recv_blocking(0, 1u32, &mut got) {
        Ok(_) => assert!(sent.is_ok() && got == vec![1; LONG], "{} was never sent", got[0]),
        Err(error) => assert!(sent.is_err(), "{error}"),
    }
    assert!(buffer == vec![2; LONG]);
}

#[test]
fn a_stopped_target_does_not_write_into_memory_that_was_given_back() {
    if !is_ours() {
        return;
    }
    if let Some(folder) = again::given() {
        let (endpoints, _) = process::connect(&folder, 2, &[1], &common::config());
        let region = endpoints[0].allocate::<u8>(LONG).unwrap();
        let region = region.expose(Access::Read).unwrap();
        common::tell(&endpoints[0], &region);
        return process::hear(&folder, "done");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut target =
        Again::start(a_stopped_target_does_not_write_into_memory_that_was_given_back, folder.path(), &[]);
    let (mut endpoints, _) = process::connect(folder.path(), 2, &[0], &impatient());
    let endpoint = endpoints.pop().unwrap();
    let region = common::learn(&endpoint, 1);
    target.stop();
    let (result, mut buffer) = common::both(endpoint.read(&region, 0, vec![1u8; LONG]).wait());
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
    buffer.fill(2);
    target.proceed();
    // Time enough for it to see the request.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(buffer == vec![2; LONG], "it changed after it was given back");
    process::tell(folder.path(), "done");
    target.passes();
}

#[test]
fn discarding_messages_changes_none_of_their_sender() {
    if !is_ours() {
        return;
    }
    const COUNT: u32 = 100;
    // Of a length that goes through the provider's buffers.
    let message = |number: u32| common::pattern(1000, number as usize);
    if let Some(folder) = again::given() {
        let (mut endpoints, _) = process::connect(&folder, 3, &[0], &common::config());
        let endpoint: Endpoint = endpoints.pop().unwrap();
        common::meet(&endpoint);
        for number in 0..COUNT {
            endpoint.send_blocking(1, number, &message(number)).unwrap();
        }
        process::tell(&folder, "sent");
        process::hear(&folder, "closed");
        for number in 0..COUNT {
            let mut got = vec![0u8; 1000];
            endpoint.recv_blocking(2, number, &mut got).unwrap();
            assert!(got == message(number), "message {number}: {:?}", &got[..24]);
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut sender = Again::start(discarding_messages_changes_none_of_their_sender, folder.path(), &[]);
    let (mut endpoints, _) = process::connect(folder.path(), 3, &[1, 2], &common::config());
    let (other, closing) = (endpoints.pop().unwrap(), endpoints.pop().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| common::meet(&closing));
        common::meet(&other);
    });
    process::hear(folder.path(), "sent");
    common::until("all messages have come", || closing.probe(0, COUNT - 1).unwrap().is_some());
    sender.stop();
    // They wait in buffers of the sender's region.
    for number in 0..COUNT {
        other.send_blocking(0, number, &message(number)).unwrap();
    }
    drop(closing);
    process::tell(folder.path(), "closed");
    sender.proceed();
    sender.passes();
}
