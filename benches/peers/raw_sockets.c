/*
 * The limit on tcp: what a pair of processes reaches on a loopback connection with nothing in between.
 * Both sides spin on non-blocking calls, since that is the fastest way to wait.
 */
#include "pair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static void send_all(int fd, const char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t sent = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0) {
			bytes += sent;
			length -= sent;
		} else if (errno != EAGAIN && errno != EINTR) {
			fail("send");
		}
	}
}

static void receive_all(int fd, char *bytes, size_t length)
{
	while (length > 0) {
		ssize_t got = recv(fd, bytes, length, MSG_DONTWAIT);

		if (got > 0) {
			bytes += got;
			length -= got;
		} else if (got == 0) {
			fprintf(stderr, "the other side closed the connection\n");
			exit(EXIT_FAILURE);
		} else if (errno != EAGAIN && errno != EINTR) {
			fail("recv");
		}
	}
}

/* Rank 0 listens on a port that the system chooses; rank 1 connects to it. */
static int connect_ranks(int rank, int listener)
{
	struct sockaddr_in address;
	socklen_t length = sizeof address;
	int fd, on = 1;

	if (rank == 0) {
		fd = accept(listener, NULL, NULL);
		if (fd < 0)
			fail("accept");
	} else {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		if (fd < 0 || getsockname(listener, (struct sockaddr *)&address, &length) != 0)
			fail("socket");
		if (connect(fd, (struct sockaddr *)&address, length) != 0)
			fail("connect");
	}
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
		fail("TCP_NODELAY");
	close(listener);
	return fd;
}

static int listen_on_loopback(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		fail("socket");
	if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1) != 0)
		fail("listen");
	return fd;
}

static double ping_pong(const struct plan *plan, int rank, int fd, char *buffer)
{
	double start = 0;

	for (long i = -plan->warmup; i < plan->iterations; i++) {
		if (i == 0)
			start = now_us();
		if (rank == 0)
			send_all(fd, buffer, plan->size);
		receive_all(fd, buffer, plan->size);
		if (rank == 1)
			send_all(fd, buffer, plan->size);
	}
	return now_us() - start;
}

/* Rank 0 sends windows of messages, one call each; rank 1 answers each window with four bytes. */
static double stream(const struct plan *plan, int rank, int fd, char *buffers)
{
	double start = 0;
	char acknowledgement[4] = { 0 };
	long in_window = 0;

	for (long i = -plan->warmup; i < plan->iterations; i++) {
		if (i == 0)
			start = now_us();
		if (rank == 0)
			send_all(fd, buffers + in_window * plan->size, plan->size);
		else
			receive_all(fd, buffers + in_window * plan->size, plan->size);
		if (++in_window < plan->window && i + 1 < plan->iterations)
			continue;
		if (rank == 0)
			receive_all(fd, acknowledgement, sizeof acknowledgement);
		else
			send_all(fd, acknowledgement, sizeof acknowledgement);
		in_window = 0;
	}
	return now_us() - start;
}

int main(int argc, char **argv)
{
	struct plan plan = parse_plan(argc, argv);
	int listener = listen_on_loopback();
	int rank = fork_ranks(&plan);
	int fd = connect_ranks(rank, listener);
	char *buffers = calloc(plan.window, plan.size);
	double elapsed;

	if (!buffers)
		fail("calloc");
	memset(buffers, 1, plan.window * plan.size); /* touch the pages before the clock starts */
	if (strcmp(plan.measure, "latency") == 0)
		elapsed = ping_pong(&plan, rank, fd, buffers);
	else
		elapsed = stream(&plan, rank, fd, buffers);
	if (rank == 0) {
		report(&plan, elapsed);
		wait(NULL);
	}
	return 0;
}
