/*
 * What the C peers share: two processes on one machine, each on its own processor, and a clock.
 */
#ifndef PAIR_H
#define PAIR_H

#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What to measure, from the command line: MEASURE SIZE ITERATIONS WARMUP WINDOW CPU0 CPU1 */
struct plan {
	const char *measure;  /* latency, bandwidth or message-rate */
	size_t size;          /* bytes of a message */
	long iterations;      /* counted messages, or round trips */
	long warmup;          /* the same, before the clock starts */
	long window;          /* messages per acknowledgement */
	int cpus[2];          /* a processor for each rank; -1 leaves it to the scheduler */
};

static void fail(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static struct plan parse_plan(int argc, char **argv)
{
	struct plan plan;

	if (argc != 8) {
		fprintf(stderr, "usage: %s latency|bandwidth|message-rate SIZE ITERATIONS WARMUP WINDOW CPU0 CPU1\n",
			argv[0]);
		exit(2);
	}
	plan.measure = argv[1];
	plan.size = strtoul(argv[2], NULL, 10);
	plan.iterations = strtol(argv[3], NULL, 10);
	plan.warmup = strtol(argv[4], NULL, 10);
	plan.window = strtol(argv[5], NULL, 10);
	plan.cpus[0] = atoi(argv[6]);
	plan.cpus[1] = atoi(argv[7]);
	if (plan.size == 0 || plan.iterations <= 0 || plan.warmup < 0 || plan.window <= 0) {
		fprintf(stderr, "%s: sizes and counts must be positive\n", argv[0]);
		exit(2);
	}
	return plan;
}

static void pin_to(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) != 0)
		fail("sched_setaffinity");
}

/* Becomes two processes and tells which one this is: 0, the one that measures and prints, or 1. */
static int fork_ranks(const struct plan *plan)
{
	pid_t parent = getpid();
	pid_t child = fork();
	int rank = child == 0;

	if (child < 0)
		fail("fork");
	if (rank == 1) {
		/* Don't outlive rank 0, or its partner would spin for ever. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			exit(EXIT_FAILURE);
	}
	pin_to(plan->cpus[rank]);
	return rank;
}

/* Prints the one figure: microseconds one way, decimal megabytes per second, or messages per second. */
static void report(const struct plan *plan, double elapsed_us)
{
	if (strcmp(plan->measure, "latency") == 0)
		printf("%.6f\n", elapsed_us / plan->iterations / 2);
	else if (strcmp(plan->measure, "bandwidth") == 0)
		printf("%.6f\n", (double)plan->size * plan->iterations / elapsed_us);
	else
		printf("%.6f\n", plan->iterations / elapsed_us * 1e6);
}

#endif
