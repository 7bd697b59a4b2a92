/*
 * The limit on shm: two processes that share pages, with nothing in between.
 * Latency: a message is copied in and out of a shared page, announced by a flag on a cache line of its own.
 * Bandwidth and message rate: the receiver copies each message straight out of the sender's memory, once, by
 * process_vm_readv for large messages, or through a ring of shared slots for small ones.
 */
#include "pair.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define LINE 64
#define COPY_BY_KERNEL 16384 /* from this size on one copy by the kernel beats two through the ring */

/* A counter that only one rank writes, alone on its cache line. */
struct flag {
	_Alignas(2 * LINE) atomic_long value;
};

struct shared {
	struct flag announced[2];    /* messages that rank r has put into its slots */
	struct flag acknowledged;    /* messages that rank 1 has taken, told once per window */
	_Atomic(char *) source;      /* where rank 0 keeps its messages, in its own address space */
	_Alignas(2 * LINE) char slots[];
};

static void wait_until(struct flag *flag, long value)
{
	while (atomic_load_explicit(&flag->value, memory_order_acquire) < value)
		;
}

static void announce(struct flag *flag, long value)
{
	atomic_store_explicit(&flag->value, value, memory_order_release);
}

static double ping_pong(const struct plan *plan, struct shared *shared, int rank, char *buffer)
{
	char *mine = shared->slots + rank * plan->size, *theirs = shared->slots + (1 - rank) * plan->size;
	double start = 0;
	long round = 0;

	for (long i = -plan->warmup; i < plan->iterations; i++) {
		if (i == 0)
			start = now_us();
		round++;
		if (rank == 0) {
			memcpy(mine, buffer, plan->size);
			announce(&shared->announced[0], round);
		}
		wait_until(&shared->announced[1 - rank], round);
		memcpy(buffer, theirs, plan->size);
		if (rank == 1) {
			memcpy(mine, buffer, plan->size);
			announce(&shared->announced[1], round);
		}
	}
	return now_us() - start;
}

/* Takes message number `index` of the window out of rank 0's memory. */
static void take(const struct plan *plan, struct shared *shared, char *buffers, long index)
{
	size_t offset = index * plan->size;

	if (plan->size >= COPY_BY_KERNEL) {
		struct iovec to = { buffers + offset, plan->size };
		struct iovec from = { shared->source + offset, plan->size };

		if (process_vm_readv(getppid(), &to, 1, &from, 1, 0) != (ssize_t)plan->size)
			fail("process_vm_readv");
	} else {
		memcpy(buffers + offset, shared->slots + offset, plan->size);
	}
}

static double stream(const struct plan *plan, struct shared *shared, int rank, char *buffers)
{
	double start = 0;
	long sent = 0, in_window = 0;

	for (long i = -plan->warmup; i < plan->iterations; i++) {
		if (i == 0)
			start = now_us();
		sent++;
		if (rank == 0) {
			if (plan->size < COPY_BY_KERNEL)
				memcpy(shared->slots + in_window * plan->size, buffers + in_window * plan->size,
				       plan->size);
			announce(&shared->announced[0], sent);
		} else {
			wait_until(&shared->announced[0], sent);
			take(plan, shared, buffers, in_window);
		}
		if (++in_window < plan->window && i + 1 < plan->iterations)
			continue;
		if (rank == 0)
			wait_until(&shared->acknowledged, sent);
		else
			announce(&shared->acknowledged, sent);
		in_window = 0;
	}
	return now_us() - start;
}

int main(int argc, char **argv)
{
	struct plan plan = parse_plan(argc, argv);
	size_t payload = (plan.window > 2 ? plan.window : 2) * plan.size;
	struct shared *shared = mmap(NULL, sizeof *shared + payload, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *buffers = malloc(payload);
	double elapsed;
	int rank;

	if (shared == MAP_FAILED)
		fail("mmap");
	if (!buffers)
		fail("malloc");
	shared->source = buffers;
	memset(shared->slots, 0, payload);
	rank = fork_ranks(&plan);
	memset(buffers, 1, payload); /* touch the pages, in each process its own, before the clock starts */
	if (strcmp(plan.measure, "latency") == 0)
		elapsed = ping_pong(&plan, shared, rank, buffers);
	else
		elapsed = stream(&plan, shared, rank, buffers);
	if (rank == 0) {
		report(&plan, elapsed);
		wait(NULL);
	}
	return 0;
}
