/* A program under libsam, as Corosync's own testsam is: each instance does a deed and tells what it finds.
 *
 *     sam POLICY INTERVAL_MS DEED...
 *
 * POLICY is a sam_recovery_policy_t as a number. Instance N does the Nth deed, or the last:
 *
 *     works     says that it is healthy, four times an interval
 *     hangs     says so once and is silent then; ends with status 3 when it is warned
 *     hangs-on  the same, but goes on when it is warned
 *     exits     ends with status 4 at once
 *     asked     is asked by a callback: healthy three times, and then no more
 *     stops     has its checks stopped, is silent for three intervals, is checked again, and ends in order
 *     fails     marks itself as failed
 *     errs      calls everything where it must not
 *
 * Each line of its output is one finding: the instance, what it is about, and a cs_error_t or another number. `pid` is
 * the instance's own. Before the deed each instance looks at the data that is stored, and stores other data.
 */
#include <corosync/corotypes.h>
#include <corosync/sam.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA_BYTES 50000
#define HEALTHY_TIMES 3

static unsigned instance;
static useconds_t interval_us;
static volatile sig_atomic_t ends_if_warned = 1;
static int asked;

static void say(const char *what, long number)
{
	printf("%u %s %ld\n", instance, what, number);
	fflush(stdout);
}

static void warned(int number)
{
	static const char text[] = "warned\n";

	(void)number;
	if (write(STDOUT_FILENO, text, sizeof text - 1) < 0 || ends_if_warned)
		_exit(3);
}

static int is_healthy(void)
{
	return ++asked > HEALTHY_TIMES;
}

static void wait_for_signals(void)
{
	for (;;)
		pause();
}

/* The data of instance N: N * 50000 bytes of N. */
static void look_at_data(void)
{
	static char data[16 * DATA_BYTES];
	size_t size = 0;

	say("data_getsize", sam_data_getsize(&size));
	say("bytes", (long)size);
	if (size > 0) {
		say("too little room", sam_data_restore(data, size - 1));
		say("data_restore", sam_data_restore(data, size));
		say("first", data[0]);
		say("last", data[size - 1]);
	}
	memset(data, (int)instance, sizeof data);
	say("data_store", sam_data_store(data, instance % 16 * DATA_BYTES));
}

static void work(int times)
{
	while (times-- != 0) {
		cs_error_t result = sam_hc_send();

		if (result != CS_OK)
			say("hc_send", result);
		usleep(interval_us / 4);
	}
}

static void stop_and_go(void)
{
	say("start", sam_start());
	work(2);
	say("stop", sam_stop());
	usleep(3 * interval_us);
	say("hc_send", sam_hc_send());
	say("start", sam_start());
	work(2);
	say("stop", sam_stop());
	say("finalize", sam_finalize());
	exit(0);
}

static void err(void)
{
	say("hc_send", sam_hc_send());
	say("stop", sam_stop());
	say("initialize", sam_initialize(1000, SAM_RECOVERY_POLICY_QUIT));
	say("register", sam_register(NULL));
	say("mark_failed", sam_mark_failed());
	say("data_getsize", sam_data_getsize(NULL));
	say("data_store", sam_data_store(NULL, 0));
	say("start", sam_start());
	say("hc_callback_register", sam_hc_callback_register(is_healthy));
	say("stop", sam_stop());
	say("finalize", sam_finalize());
	say("finalize", sam_finalize());
	say("start", sam_start());
	exit(0);
}

static void act(const char *deed)
{
	if (!strcmp(deed, "stops"))
		stop_and_go();
	if (!strcmp(deed, "errs"))
		err();
	if (!strcmp(deed, "asked"))
		say("hc_callback_register", sam_hc_callback_register(is_healthy));
	if (!strcmp(deed, "hangs-on"))
		ends_if_warned = 0;
	say("start", sam_start());
	if (!strcmp(deed, "exits"))
		exit(4);
	if (!strcmp(deed, "works"))
		work(-1);
	if (!strcmp(deed, "fails"))
		say("mark_failed", sam_mark_failed());
	else if (strcmp(deed, "asked") != 0)
		work(1);
	wait_for_signals();
}

int main(int count, char **arguments)
{
	int policy, interval_ms, deed;
	cs_error_t result;

	if (count < 4)
		return 2;
	policy = atoi(arguments[1]);
	interval_ms = atoi(arguments[2]);
	interval_us = (useconds_t)interval_ms * 1000;
	say("too early", sam_start());
	say("initialize", sam_initialize(interval_ms, (sam_recovery_policy_t)policy));
	result = sam_register(&instance);
	if (result != CS_OK) {
		say("register", result);
		return 1;
	}
	say("pid", getpid());
	/* Not before: the parent is libsam's, with signals as libsam wants them. */
	signal(SIGTERM, warned);
	look_at_data();
	deed = 2 + (int)instance;
	act(arguments[deed < count ? deed : count - 1]);
	return 0;
}
