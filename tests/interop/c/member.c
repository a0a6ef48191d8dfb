/* A member of the group `a` on libcpg that sends, receives, and writes down what it saw, for tests/checker/groups.
 *
 *     member NAME LOG RATE SEED
 *
 * It sends RATE messages a second, of sizes at random. A message begins with `NAME#LIFE/NUMBER|SIZE|`, again and again.
 * It is written down before it is sent. A connection that ends is made anew, as a life of its own. Commands are lines of
 * standard input: `quiet` (send no more), `last` (say a last word, and go on receiving); at its end it leaves.
 */
#define _GNU_SOURCE
#include <corosync/cpg.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GROUP "a"
#define SIZE_MAX_BYTES 100000
#define NAME_BYTES 64
#define RETRY_US 10000
#define POLL_MS 20

static const char *const reasons[] = {"", "join", "leave", "nodedown", "nodeup", "procdown"};
static const struct cpg_name group = {.length = sizeof GROUP - 1, .value = GROUP};
static FILE *file;
static const char *name;
static char own[NAME_BYTES], data[SIZE_MAX_BYTES + NAME_BYTES];
static unsigned life, node, number;
static int has_left;
static uint64_t state;
static uint32_t crc_table[256];
static cpg_handle_t handle;

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint32_t draw(uint32_t limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16) % limit;
}

static void make_crc_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
		crc_table[i] = crc;
	}
}

static uint32_t crc32_of(const unsigned char *bytes, size_t size)
{
	uint32_t crc = ~0u;

	for (size_t i = 0; i < size; i++)
		crc = crc_table[(crc ^ bytes[i]) & 0xFF] ^ crc >> 8;
	return ~crc;
}

static void note(const char *ev, const char *format, ...)
{
	va_list arguments;

	fprintf(file, "{\"t\": %.6f, \"ev\": \"%s\", \"proc\": \"%s#%u\", \"node\": %u, \"pid\": %d", now_s(), ev, name, life, node,
		(int)getpid());
	va_start(arguments, format);
	vfprintf(file, format, arguments);
	va_end(arguments);
	fputs("}\n", file);
}

static void deliver(cpg_handle_t of, const struct cpg_name *in, uint32_t from, uint32_t pid, void *bytes, size_t size)
{
	char head[NAME_BYTES];
	size_t length = size < sizeof head - 1 ? size : sizeof head - 1;
	char *bar;
	long whole;

	(void)of, (void)in;
	memcpy(head, bytes, length);
	head[length] = '\0';
	bar = strchr(head, '|');
	whole = bar == NULL ? -1 : strtol(bar + 1, NULL, 10);
	/* A message has at least its head. */
	if (bar != NULL && strchr(bar + 1, '|') != NULL && whole < strchr(bar + 1, '|') + 1 - head)
		whole = strchr(bar + 1, '|') + 1 - head;
	if (bar != NULL)
		*bar = '\0';
	note("gdeliver",
	     ", \"group\": \"" GROUP "\", \"msg\": \"%s\", \"size\": %ld, \"crc\": %" PRIu32 ", \"sender\": [%" PRIu32 ", %" PRIu32
	     "], \"trans\": false",
	     head, whole == (long)size ? whole : -1, crc32_of(bytes, size), from, pid);
	if (strncmp(head, own, strlen(own)) == 0 && head[strlen(own)] == '/')
		note("gordered", ", \"group\": \"" GROUP "\", \"msgs\": [\"%s\"]", head);
}

static void list(const char *what, const struct cpg_address *entries, size_t count, int with_reason)
{
	fprintf(file, ", \"%s\": [", what);
	for (size_t i = 0; i < count; i++) {
		fprintf(file, "%s[%" PRIu32 ", %" PRIu32, i ? ", " : "", entries[i].nodeid, entries[i].pid);
		if (with_reason)
			fprintf(file, ", \"%s\"", entries[i].reason < 6 ? reasons[entries[i].reason] : "unknown");
		fputs("]", file);
	}
	fputs("]", file);
}

static void changed(cpg_handle_t of, const struct cpg_name *in, const struct cpg_address *members, size_t count,
		    const struct cpg_address *left, size_t left_count, const struct cpg_address *joined, size_t joined_count)
{
	(void)of, (void)in;
	fprintf(file, "{\"t\": %.6f, \"ev\": \"gconf\", \"proc\": \"%s#%u\", \"node\": %u, \"pid\": %d, \"group\": \"" GROUP "\"",
		now_s(), name, life, node, (int)getpid());
	list("members", members, count, 0);
	list("joined", joined, joined_count, 1);
	list("left", left, left_count, 1);
	fputs("}\n", file);
	for (size_t i = 0; i < left_count; i++)
		has_left |= left[i].nodeid == node && left[i].pid == (uint32_t)getpid();
}

static void ring_changed(cpg_handle_t of, struct cpg_ring_id ring, uint32_t count, const uint32_t *nodes)
{
	(void)of;
	fprintf(file,
		"{\"t\": %.6f, \"ev\": \"gring\", \"proc\": \"%s#%u\", \"node\": %u, \"pid\": %d, \"group\": \"" GROUP "\", "
		"\"ring\": [%" PRIu32 ", %" PRIu64 "], \"members\": [",
		now_s(), name, life, node, (int)getpid(), ring.nodeid, ring.seq);
	for (uint32_t i = 0; i < count; i++)
		fprintf(file, "%s%" PRIu32, i ? ", " : "", nodes[i]);
	fputs("]}\n", file);
}

static void begin(void)
{
	cpg_model_v1_data_t model = {
		.cpg_deliver_fn = deliver, .cpg_confchg_fn = changed, .cpg_totem_confchg_fn = ring_changed};

	for (;;) {
		while (cpg_model_initialize(&handle, CPG_MODEL_V1, (cpg_model_data_t *)&model, NULL) != CS_OK)
			usleep(RETRY_US);
		if (cpg_local_get(handle, &node) == CS_OK) {
			cs_error_t result;

			snprintf(own, sizeof own, "%s#%u", name, ++life);
			note("gstart", "");
			note("gjoin", ", \"group\": \"" GROUP "\"");
			while ((result = cpg_join(handle, &group)) == CS_ERR_TRY_AGAIN)
				usleep(RETRY_US);
			if (result == CS_OK)
				return;
			note("gover", ", \"why\": \"join %d\"", result);
		}
		cpg_finalize(handle);
	}
}

/* What came of a call: the connection may be over, and then there is another one. */
static cs_error_t seen(const char *call, cs_error_t result)
{
	if (result != CS_OK && result != CS_ERR_TRY_AGAIN) {
		note("gover", ", \"why\": \"%s %d\"", call, result);
		cpg_finalize(handle);
		begin();
	}
	return result;
}

static void send_one(size_t size, const char *word)
{
	struct iovec part = {data, 0};
	unsigned life_then = life;
	size_t head = (size_t)snprintf(data, NAME_BYTES, "%s/%u|%zu|", own, ++number, size);

	part.iov_len = size > head ? size : head;
	for (size_t i = head; i < part.iov_len; i++)
		data[i] = data[i - head];
	note("gsend", ", \"group\": \"" GROUP "\", \"msg\": \"%s/%u\", \"size\": %zu, \"crc\": %" PRIu32 ", \"level\": \"agreed\"%s",
	     own, number, part.iov_len, crc32_of((unsigned char *)data, part.iov_len), word);
	while (seen("mcast", cpg_mcast_joined(handle, CPG_TYPE_AGREED, &part, 1)) == CS_ERR_TRY_AGAIN && life == life_then)
		seen("dispatch", cpg_dispatch(handle, CS_DISPATCH_ALL));
}

int main(int count, char **arguments)
{
	double due_s, interval_s;
	int quiet = 0;

	if (count != 5 || (file = fopen(arguments[2], "a")) == NULL)
		return 2;
	name = arguments[1];
	interval_s = 1 / atof(arguments[3]);
	state = strtoull(arguments[4], NULL, 10) * 2654435761u + 88172645463325252ULL;
	make_crc_table();
	begin();
	due_s = now_s();
	for (;;) {
		struct pollfd ready[2] = {{0, POLLIN, 0}, {-1, POLLIN, 0}};
		char line[NAME_BYTES];
		ssize_t length;

		seen("fd_get", cpg_fd_get(handle, &ready[1].fd));
		fflush(file);
		poll(ready, 2, POLL_MS);
		if (ready[1].revents)
			seen("dispatch", cpg_dispatch(handle, CS_DISPATCH_ALL));
		if (ready[0].revents) {
			if ((length = read(0, line, sizeof line)) <= 0)
				break;
			quiet = 1;
			if (memmem(line, (size_t)length, "last", 4) != NULL)
				send_one(0, ", \"word\": \"last\"");
		}
		for (; !quiet && due_s <= now_s(); due_s += interval_s)
			send_one(draw(20) ? draw(2000) : draw(SIZE_MAX_BYTES), "");
	}
	note("gleave", ", \"group\": \"" GROUP "\"");
	seen("leave", cpg_leave(handle, &group));
	while (!has_left)
		seen("dispatch", cpg_dispatch(handle, CS_DISPATCH_ONE));
	note("gout", ", \"group\": \"" GROUP "\"");
	fclose(file);
	return 0;
}
