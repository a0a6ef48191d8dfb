/* A member of a group, in C, that sends messages as fast as it is let and checks all that it is given.
 *
 *     load GROUP MEMBERS COUNT SIZE_MIN SIZE_MAX TOTAL [LONG_EVERY LONG_MAX]
 *
 * It joins GROUP, waits until that has MEMBERS members, multicasts COUNT messages, and goes on until TOTAL messages of
 * all senders were delivered. Message N of a sender has a size that follows from N, begins with N, and every further
 * byte follows from N and its place. Of LONG_EVERY messages the last is a long one, of up to LONG_MAX bytes, and the
 * first of these has exactly so many. (tests/interop/load_client.py does the same in Python.) What is printed at the end:
 *
 *     total T wrong W order H try_again A seconds S
 *
 * W counts messages out of their sender's order, of a wrong size or content; H is a digest of who sent what in which
 * order, the same at every member that was there from the beginning. Exit status 0, or 1 with the failed call and its
 * cs_error_t. A change of the group is printed as it is told: `members N`.
 */
#include <corosync/cpg.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SENDERS_MAX 64
#define QUIET_MS 60000
#define TRIES_MAX 3000
/* A program that sends long messages has to take events: libcpg waits for room inside a call otherwise. */
#define UNDELIVERED_BYTES_MAX (4 << 20)

static struct { uint32_t node, pid, next; } senders[SENDERS_MAX];
static unsigned sender_count;
static uint64_t total, wrong, order = 14695981039346656037ULL, try_again;
static size_t size_min, size_max, long_max, members, sent, returned;
static uint32_t long_every;
static unsigned own_node;
static char *buffer;

static size_t size_of(uint32_t n)
{
	size_t drawn = n * 2654435761u;

	if (long_every && n % long_every == long_every - 1)
		return n < long_every ? long_max : 1 + drawn % long_max;
	return size_min == size_max ? size_min : size_min + drawn % (size_max - size_min + 1);
}

static void fill(uint32_t n, char *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		data[i] = i < 4 ? (char)(n >> 8 * i) : (char)(n + i * 7);
}

static void digest(uint32_t value)
{
	order = (order ^ value) * 1099511628211ULL;
}

static void deliver(cpg_handle_t handle, const struct cpg_name *group, uint32_t node, uint32_t pid, void *data, size_t size)
{
	unsigned i = 0;
	(void)handle, (void)group;
	while (i < sender_count && (senders[i].node != node || senders[i].pid != pid))
		i++;
	if (i == SENDERS_MAX) {
		wrong++;
		return;
	}
	if (i == sender_count) {
		senders[i].node = node;
		senders[i].pid = pid;
		sender_count++;
	}
	uint32_t n = senders[i].next++;
	size_t wanted = size_of(n);
	fill(n, buffer, wanted);
	if (size != wanted || memcmp(buffer, data, size) != 0)
		wrong++;
	total++;
	if (node == own_node && pid == (uint32_t)getpid())
		returned += size;
	digest(node), digest(pid), digest(n);
}

static void changed(cpg_handle_t handle, const struct cpg_name *group, const struct cpg_address *list, size_t count,
		    const struct cpg_address *left, size_t left_count, const struct cpg_address *joined, size_t joined_count)
{
	(void)handle, (void)group, (void)list, (void)left, (void)left_count, (void)joined, (void)joined_count;
	members = count;
	printf("members %zu\n", count);
	fflush(stdout);
}

static void must(const char *what, cs_error_t result)
{
	if (result != CS_OK) {
		printf("failed %s %d\n", what, result);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	cpg_callbacks_t callbacks = { .cpg_deliver_fn = deliver, .cpg_confchg_fn = changed };
	struct cpg_name group;
	struct timespec begin, end;
	cpg_handle_t handle;
	int descriptor, tries = 0;

	if (argc != 7 && argc != 9)
		return 2;
	strcpy(group.value, argv[1]);
	group.length = strlen(argv[1]);
	size_t wanted_members = strtoul(argv[2], NULL, 10);
	uint32_t count = strtoul(argv[3], NULL, 10);
	size_min = strtoul(argv[4], NULL, 10);
	size_max = strtoul(argv[5], NULL, 10);
	uint64_t wanted_total = strtoull(argv[6], NULL, 10);
	if (argc == 9) {
		long_every = strtoul(argv[7], NULL, 10);
		long_max = strtoul(argv[8], NULL, 10);
	}
	char *data = malloc(size_max > long_max ? size_max : long_max);
	buffer = malloc(size_max > long_max ? size_max : long_max);

	cs_error_t made;
	while ((made = cpg_initialize(&handle, &callbacks)) == CS_ERR_TRY_AGAIN && tries++ < TRIES_MAX)
		usleep(10000);
	must("initialize", made);
	must("local_get", cpg_local_get(handle, &own_node));
	must("join", cpg_join(handle, &group));
	must("fd_get", cpg_fd_get(handle, &descriptor));
	while (members != wanted_members)
		must("dispatch", cpg_dispatch(handle, CS_DISPATCH_ONE));
	clock_gettime(CLOCK_MONOTONIC, &begin);
	for (uint32_t n = 0; n < count;) {
		struct iovec part = { data, size_of(n) };
		fill(n, data, part.iov_len);
		cs_error_t result = cpg_mcast_joined(handle, CPG_TYPE_AGREED, &part, 1);
		if (result == CS_ERR_TRY_AGAIN)
			try_again++;
		else {
			must("mcast", result);
			n++;
			sent += part.iov_len;
		}
		if (result == CS_ERR_TRY_AGAIN || n % 16 == 0 || sent - returned > UNDELIVERED_BYTES_MAX) {
			do {
				result = cpg_dispatch(handle, CS_DISPATCH_ALL);
				if (result != CS_ERR_TRY_AGAIN)
					must("dispatch", result);
			} while (sent - returned > UNDELIVERED_BYTES_MAX);
		}
	}
	while (total < wanted_total) {
		struct pollfd ready = { descriptor, POLLIN, 0 };
		if (poll(&ready, 1, QUIET_MS) == 0)
			break;
		cs_error_t result = cpg_dispatch(handle, CS_DISPATCH_ALL);
		if (result != CS_ERR_TRY_AGAIN)
			must("dispatch", result);
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	double seconds = (end.tv_sec - begin.tv_sec) + (end.tv_nsec - begin.tv_nsec) / 1e9;
	printf("total %" PRIu64 " wrong %" PRIu64 " order %016" PRIx64 " try_again %" PRIu64 " seconds %.3f\n", total, wrong,
	       order, try_again, seconds);
	fflush(stdout);
	/* The others shall see the same members to the end. */
	sleep(1);
	must("finalize", cpg_finalize(handle));
	return 0;
}
