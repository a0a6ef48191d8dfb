/* A program that calls the five services of Corosync with requests that make no sense, over libqb's own client.
 *
 *     fuzz REQUESTS SEED
 *
 * Each request goes to one of five connections: an id that exists or not, a length that is right or not, and bytes at
 * random, some of them small numbers or names as real programs send them. What comes back is read or left. A connection
 * that is hung up is made anew. Left out are the requests that do in earnest what they say: to kill a node, to shut down.
 * What is printed at the end:
 *
 *     sent S answered A hung_up H refused R
 *
 * R counts connections that were not made. Exit status 0, or 1 if none could be made for long.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* As in qb/qbipcc.h, so that the library alone is needed. */
typedef struct qb_ipcc_connection qb_ipcc_connection_t;
qb_ipcc_connection_t *qb_ipcc_connect(const char *name, size_t max_msg_size);
void qb_ipcc_disconnect(qb_ipcc_connection_t *connection);
ssize_t qb_ipcc_send(qb_ipcc_connection_t *connection, const void *message, size_t length);
ssize_t qb_ipcc_recv(qb_ipcc_connection_t *connection, void *message, size_t length, int32_t timeout_ms);
ssize_t qb_ipcc_event_recv(qb_ipcc_connection_t *connection, void *message, size_t length, int32_t timeout_ms);
int32_t qb_ipcc_is_connected(qb_ipcc_connection_t *connection);

#define SERVICES 5
#define RING_BYTES (1 << 20)
#define HEADER_BYTES 16
#define ANSWER_MS 2
#define CFG 1
#define REFUSED_MAX 2000

static const char *const names[SERVICES] = {"cmap", "cfg", "cpg", "quorum", "votequorum"};
static qb_ipcc_connection_t *connections[SERVICES];
static uint64_t state;
static char request[RING_BYTES], answer[RING_BYTES];

static uint32_t draw(uint32_t limit)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 16) % limit;
}

static size_t make(unsigned service)
{
	size_t length = HEADER_BYTES + (draw(100) ? draw(600) : draw(200000));
	int32_t id = draw(10) ? (int32_t)draw(24) : (int32_t)(state >> 20);
	int32_t size = draw(20) ? (int32_t)length : (int32_t)draw(1 << 21);

	for (size_t at = HEADER_BYTES; at < length; at++)
		request[at] = (char)(draw(3) ? 0 : draw(3) ? draw(8) : draw(256));
	if (draw(3) == 0 && length > 64)
		memcpy(request + HEADER_BYTES + 8 * draw(5), "my.key", 7);
	if (service == CFG && id >= 2 && id <= 4)
		id = 5;
	memcpy(request, &id, sizeof id);
	memcpy(request + 8, &size, sizeof size);
	return length;
}

int main(int count, char **arguments)
{
	uint64_t wanted, sent = 0, answered = 0, hung_up = 0, refused = 0;

	if (count != 3)
		return 2;
	wanted = strtoull(arguments[1], NULL, 10);
	state = strtoull(arguments[2], NULL, 10) * 2654435761u + 88172645463325252ULL;
	while (sent < wanted) {
		unsigned service = draw(SERVICES);
		qb_ipcc_connection_t *connection = connections[service];
		size_t length;

		if (connection == NULL) {
			connection = connections[service] = qb_ipcc_connect(names[service], RING_BYTES);
			if (connection == NULL) {
				if (++refused > REFUSED_MAX)
					return 1;
				usleep(20000);
				continue;
			}
		}
		length = make(service);
		sent++;
		(void)qb_ipcc_send(connection, request, length);
		if (qb_ipcc_recv(connection, answer, sizeof answer, ANSWER_MS) > 0)
			answered++;
		if (draw(2))
			while (qb_ipcc_event_recv(connection, answer, sizeof answer, 0) > 0)
				;
		if (!qb_ipcc_is_connected(connection) || draw(5000) == 0) {
			hung_up += !qb_ipcc_is_connected(connection);
			qb_ipcc_disconnect(connection);
			connections[service] = NULL;
		}
	}
	for (unsigned service = 0; service < SERVICES; service++)
		if (connections[service] != NULL)
			qb_ipcc_disconnect(connections[service]);
	printf("sent %" PRIu64 " answered %" PRIu64 " hung_up %" PRIu64 " refused %" PRIu64 "\n", sent, answered, hung_up, refused);
	return 0;
}
