/*
 * The measuring application on a C Corosync node: cpg_client GROUP. See __init__.py for what it is told and answers.
 *
 * One thread. It sends until the library says "try again", and takes what is delivered in the same loop, which is how
 * libcpg gets the most through: a member that does not dispatch is what makes its node refuse more. What is on its way
 * is bounded, because more than that was measured to be slower (knet, 64 KiB and more: by a third), never faster.
 */
#include <corosync/cpg.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { IN_FLIGHT_BYTES_MAX = 1 << 20, IN_FLIGHT_MESSAGES_MIN = 2 };
enum { WARM_UP_MESSAGES = 20, SENT_BEFORE_DISPATCH = 16, LINE_SIZE = 256, WAIT_MS = 1, QUIET_MS = 120000 };

static cpg_handle_t handle;
static int descriptor;
static uint32_t own_node;
static uint32_t own_pid;
static uint64_t messages, bytes, own;

enum { NODES_MAX = 256, GAPS_MAX = 8192 };
static const double GAP_MIN_S = 0.010;

/* What a message of `beat` holds. */
struct beat {
	uint32_t number, is_last;
};

/* What was had in `beat`. */
static struct {
	int on;
	uint32_t next[NODES_MAX], lasts;
	uint64_t received, lost, doubled, order;
	double at_s;
	size_t gaps;
	double gap_end_s[GAPS_MAX], gap_ms[GAPS_MAX];
} had;

static void fail(const char *what, int result)
{
	fprintf(stderr, "cpg_client: %s: error %d\n", what, result);
	exit(1);
}

static double now_s(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void on_beat(uint32_t node, const struct beat *beat)
{
	double at_s = now_s();
	if (had.received && at_s - had.at_s >= GAP_MIN_S && had.gaps < GAPS_MAX) {
		had.gap_end_s[had.gaps] = at_s;
		had.gap_ms[had.gaps++] = (at_s - had.at_s) * 1e3;
	}
	had.at_s = at_s;
	had.received++;
	had.order = had.order * 31 + ((uint64_t)node << 32) + beat->number;
	uint32_t *next = &had.next[node % NODES_MAX];
	if (beat->number < *next)
		had.doubled++;
	else {
		had.lost += beat->number - *next;
		*next = beat->number + 1;
	}
	had.lasts += beat->is_last;
}

static void on_message(cpg_handle_t from, const struct cpg_name *group, uint32_t node, uint32_t pid, void *data,
                       size_t size)
{
	(void)from, (void)group;
	messages++;
	if (had.on && size == sizeof(struct beat))
		on_beat(node, data);
	bytes += size;
	if (node == own_node && pid == own_pid)
		own++;
}

static void on_membership(cpg_handle_t from, const struct cpg_name *group, const struct cpg_address *members,
                          size_t count, const struct cpg_address *left, size_t left_count,
                          const struct cpg_address *joined, size_t joined_count)
{
	(void)from, (void)group, (void)members, (void)count, (void)left, (void)left_count;
	for (size_t i = 0; i < joined_count; i++)
		if (joined[i].nodeid == own_node && joined[i].pid == own_pid) {
			puts("{\"ready\": true}");
			fflush(stdout);
		}
}

static void dispatch(void)
{
	cs_error_t result = cpg_dispatch(handle, CS_DISPATCH_ALL);
	if (result != CS_OK && result != CS_ERR_TRY_AGAIN)
		fail("cpg_dispatch", result);
}

/* Wait until something is delivered, at most so long, and take it; returns whether there was something. */
static int wait_and_dispatch(int timeout_ms)
{
	struct pollfd readable = { .fd = descriptor, .events = POLLIN };
	if (poll(&readable, 1, timeout_ms) <= 0)
		return 0;
	dispatch();
	return 1;
}

/* Whether another message of that size may be sent before some of those on their way are delivered. */
static int has_room(uint64_t in_flight, size_t size)
{
	return in_flight < IN_FLIGHT_MESSAGES_MIN || (in_flight + 1) * size <= IN_FLIGHT_BYTES_MAX;
}

/* Send one message; returns whether the node took it. */
static int send_one(char *data, size_t size)
{
	struct iovec vector = { .iov_base = data, .iov_len = size };
	cs_error_t result = cpg_mcast_joined(handle, CPG_TYPE_AGREED, &vector, 1);
	if (result != CS_OK && result != CS_ERR_TRY_AGAIN)
		fail("cpg_mcast_joined", result);
	return result == CS_OK;
}

static void throughput(size_t size, double seconds, double start_s)
{
	char *data = calloc(1, size + 1);
	double early_s;
	while ((early_s = start_s - now_s()) > 0)
		wait_and_dispatch((int)(early_s * 1000) + 1);
	double began_s = now_s(), stop_s = start_s + seconds;
	uint64_t sent = 0, own_before = own;
	do {
		for (int i = 0; i < SENT_BEFORE_DISPATCH; i++) {
			if (!has_room(sent - (own - own_before), size) || !send_one(data, size)) {
				wait_and_dispatch(WAIT_MS);
				break;
			}
			sent++;
		}
		wait_and_dispatch(0);
	} while (now_s() < stop_s);
	while (own - own_before < sent)
		if (!wait_and_dispatch(QUIET_MS))
			fail("a message was not delivered", 0);
	printf("{\"messages\": %" PRIu64 ", \"seconds\": %.6f}\n", sent, now_s() - began_s);
	free(data);
}

static int ascending(const void *a, const void *b)
{
	double one = *(const double *)a, other = *(const double *)b;
	return (one > other) - (one < other);
}

static void latency(size_t size, int count, double gap_ms)
{
	char *data = calloc(1, size + 1);
	double *times_us = calloc((size_t)count, sizeof *times_us);
	struct timespec gap = { .tv_sec = (time_t)(gap_ms / 1000), .tv_nsec = (long)(gap_ms * 1e6) % 1000000000 };
	for (int i = 0; i < count + WARM_UP_MESSAGES; i++) {
		double began_s = now_s();
		uint64_t own_before = own;
		while (!send_one(data, size))
			wait_and_dispatch(WAIT_MS);
		while (own == own_before)
			if (!wait_and_dispatch(QUIET_MS))
				fail("a message was not delivered", 0);
		if (i >= WARM_UP_MESSAGES)
			times_us[i - WARM_UP_MESSAGES] = (now_s() - began_s) * 1e6;
		if (gap_ms > 0)
			nanosleep(&gap, NULL);
	}
	qsort(times_us, (size_t)count, sizeof *times_us, ascending);
	printf("{\"times_us\": [");
	for (int i = 0; i < count; i++)
		printf("%s%.1f", i ? ", " : "", times_us[i]);
	puts("]}");
	free(times_us);
	free(data);
}

static void beat(double period_ms, double start_s, uint32_t senders)
{
	struct beat beat = { 0, 0 };
	double due_s = start_s;
	char line[LINE_SIZE];
	memset(&had, 0, sizeof had);
	had.on = 1;
	while (!beat.is_last) {
		double early_s = due_s - now_s();
		if (early_s > 0) {
			wait_and_dispatch((int)(early_s * 1000) + 1);
			continue;
		}
		struct pollfd told = { .fd = 0, .events = POLLIN };
		beat.is_last = poll(&told, 1, 0) == 1 && fgets(line, sizeof line, stdin) != NULL;
		while (!send_one((char *)&beat, sizeof beat))
			wait_and_dispatch(WAIT_MS);
		beat.number++;
		due_s += period_ms / 1000;
	}
	while (had.lasts < senders)
		if (!wait_and_dispatch(QUIET_MS))
			fail("a message was not delivered", 0);
	had.on = 0;
	printf("{\"sent\": %" PRIu32 ", \"received\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"doubled\": %" PRIu64, beat.number,
	       had.received, had.lost, had.doubled);
	printf(", \"order\": %" PRIu64 ", \"gaps\": [", had.order);
	for (size_t i = 0; i < had.gaps; i++)
		printf("%s[%.6f, %.3f]", i ? ", " : "", had.gap_end_s[i], had.gap_ms[i]);
	puts("]}");
}

/* Carry out one command; returns whether to go on. */
static int obey(const char *line)
{
	size_t size;
	int count;
	double seconds, start_s, gap_ms;
	uint32_t senders;
	if (sscanf(line, "throughput %zu %lf %lf", &size, &seconds, &start_s) == 3)
		throughput(size, seconds, start_s);
	else if (sscanf(line, "latency %zu %d %lf", &size, &count, &gap_ms) == 3)
		latency(size, count, gap_ms);
	else if (sscanf(line, "beat %lf %lf %" SCNu32, &gap_ms, &start_s, &senders) == 3)
		beat(gap_ms, start_s, senders);
	else if (strcmp(line, "count\n") == 0)
		printf("{\"messages\": %" PRIu64 ", \"bytes\": %" PRIu64 "}\n", messages, bytes);
	else
		return 0;
	fflush(stdout);
	return 1;
}

static void join(const char *name)
{
	cpg_model_v1_data_t model = {
		.model = CPG_MODEL_V1, .cpg_deliver_fn = on_message, .cpg_confchg_fn = on_membership
	};
	struct cpg_name group = { .length = (uint32_t)strlen(name) };
	cs_error_t result;
	memcpy(group.value, name, group.length);
	while ((result = cpg_model_initialize(&handle, CPG_MODEL_V1, (cpg_model_data_t *)&model, NULL)) != CS_OK) {
		if (result != CS_ERR_TRY_AGAIN)
			fail("cpg_model_initialize", result);
		usleep(20000);
	}
	own_pid = (uint32_t)getpid();
	if ((result = cpg_local_get(handle, &own_node)) != CS_OK)
		fail("cpg_local_get", result);
	if ((result = cpg_fd_get(handle, &descriptor)) != CS_OK)
		fail("cpg_fd_get", result);
	while ((result = cpg_join(handle, &group)) != CS_OK) {
		if (result != CS_ERR_TRY_AGAIN)
			fail("cpg_join", result);
		usleep(20000);
	}
}

int main(int count, char **words)
{
	if (count != 2 || strlen(words[1]) > CPG_MAX_NAME_LENGTH) {
		fprintf(stderr, "usage: cpg_client GROUP\n");
		return 2;
	}
	join(words[1]);
	setvbuf(stdin, NULL, _IONBF, 0);
	for (;;) {
		char line[LINE_SIZE];
		struct pollfd readable[2] = { { .fd = descriptor, .events = POLLIN }, { .fd = 0, .events = POLLIN } };
		if (poll(readable, 2, -1) < 0 && errno != EINTR)
			fail("poll", errno);
		if (readable[0].revents)
			dispatch();
		if (readable[1].revents && (fgets(line, sizeof line, stdin) == NULL || !obey(line)))
			break;
	}
	cpg_finalize(handle);
	return 0;
}
