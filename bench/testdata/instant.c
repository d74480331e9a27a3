/* The instant worker: what is measured with it is its manager. It says when its
 * main began (CLOCK_MONOTONIC, from the worker itself, so that a reader's delay
 * does not count) in a datagram to INSTANT, says READY=1 to NOTIFY_SOCKET where
 * it is given as its only argument, and answers each connection on descriptor 3
 * with its generation. It dies of TERM, as anything does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void tell(const char *path, const char *text)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (!path || fd < 0)
		return;
	strncpy(to.sun_path, path, sizeof to.sun_path - 1);
	sendto(fd, text, strlen(text), 0, (struct sockaddr *)&to, sizeof to);
	close(fd);
}

int main(int argc, char **argv)
{
	struct timespec now;
	char text[128];
	const char *generation = getenv("FUGUE_GENERATION");

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof text, "%d %lld", (int)getpid(), now.tv_sec * 1000000000LL + now.tv_nsec);
	tell(getenv("INSTANT"), text);
	if (argc > 1)
		tell(getenv("NOTIFY_SOCKET"), "READY=1");
	if (getenv("LISTEN_FDS")) {
		for (;;) {
			int c = accept(3, 0, 0);
			if (c < 0)
				break;
			snprintf(text, sizeof text, "%s\n", generation ? generation : "bare");
			if (write(c, text, strlen(text)) < 0)
				return 1;
			close(c);
		}
	}
	for (;;)
		pause();
}
