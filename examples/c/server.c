/* A plain accept loop: its socket and READY=1 by libsystemd, and a drain: what it
 * has accepted gets its answer, and nothing more is accepted after SIGTERM.
 *
 *	cc -Wall -o server server.c -lsystemd
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static volatile sig_atomic_t stopping;

static void stop(int sig)
{
	(void)sig;
	stopping = 1;
}

static void answer(int fd)
{
	char request[4096], body[128], text[256];
	size_t n = 0;

	while (n < sizeof request - 1) {
		ssize_t got = read(fd, request + n, sizeof request - 1 - n);
		if (got < 0 && errno == EINTR)
			continue; /* SIGTERM: this request is answered all the same */
		if (got <= 0)
			return;
		n += got;
		request[n] = 0;
		if (strstr(request, "\r\n\r\n"))
			break;
	}
	snprintf(body, sizeof body, "hello from worker %s, generation %s\n",
		 getenv("FUGUE_WORKER"), getenv("FUGUE_GENERATION"));
	int size = snprintf(text, sizeof text,
			    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
			    strlen(body), body);
	for (int sent = 0; sent < size;) {
		ssize_t put = write(fd, text + sent, size - sent);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return;
		sent += put;
	}
}

int main(void)
{
	if (sd_listen_fds(1) != 1) {
		fprintf(stderr, "want one socket (LISTEN_FDS): run this under fugue or a .socket unit\n");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN); /* a client that has gone */

	/* SIGTERM comes in ppoll alone: between the look at stopping and the wait
	 * it would be missed. */
	sigset_t term, before;
	struct sigaction action = { .sa_handler = stop };
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	sigaction(SIGTERM, &action, NULL);

	sd_notify(0, "READY=1");
	struct pollfd listener = { .fd = SD_LISTEN_FDS_START, .events = POLLIN };
	while (!stopping) {
		if (ppoll(&listener, 1, NULL, &before) < 0)
			continue;
		/* Another worker may have been faster: nonblocking in fugue.toml keeps
		 * this from waiting, and SIGTERM out, until somebody connects. */
		int fd = accept4(SD_LISTEN_FDS_START, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		answer(fd);
		close(fd);
	}
	sd_notify(0, "STOPPING=1");
	return 0;
}
