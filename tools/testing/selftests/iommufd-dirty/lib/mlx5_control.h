/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The control socket of mlx5-model, which is the guest's third serial port: a line
 * there, a line back. See the model's README for the commands.
 */
#ifndef SELFTESTS_MLX5_CONTROL_H
#define SELFTESTS_MLX5_CONTROL_H

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "kselftest_harness.h"

#define CONTROL_PATH "/dev/ttyS2"
#define NO_CONTROL CONTROL_PATH " is not the control socket of mlx5-model"
/* In milliseconds, until an answer begins and between its bytes. */
#define CONTROL_TIMEOUT 20000
/* The number of extents that the model reports at once, and the room for them. */
#define CONTROL_MAX_EXTENTS 65536
#define CONTROL_MAX_ANSWER (CONTROL_MAX_EXTENTS * 36)

/* Status and opcodes of commands that a test has refused. */
enum {
	STATUS_INT_ERR = 0x1,
	STATUS_BAD_PARAM = 0x3,
	STATUS_RES_BUSY = 0x6,
	STATUS_LIM_ERR = 0x8,
	STATUS_NO_RES = 0xf,
};

/* Returns a file descriptor, or -1 if nobody answers. */
static inline int control_open(void)
{
	struct termios tio;
	int fd = open(CONTROL_PATH, O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd == -1)
		return -1;
	if (tcgetattr(fd, &tio)) {
		close(fd);
		return -1;
	}
	cfmakeraw(&tio);
	tio.c_cflag |= CLOCAL | CREAD;
	cfsetspeed(&tio, B115200);
	if (tcsetattr(fd, TCSANOW, &tio)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* The line without its end. Returns its length, or -1. */
static inline ssize_t control_line(int fd, char *line, size_t size)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };
	size_t len = 0;
	ssize_t got;

	while (len + 1 < size && poll(&pollfd, 1, CONTROL_TIMEOUT) == 1) {
		got = read(fd, line + len, size - 1 - len);
		if (got <= 0)
			return -1;
		len += got;
		if (line[len - 1] == '\n') {
			line[len - 1] = '\0';
			return len - 1;
		}
	}
	return -1;
}

/*
 * The answer, to be freed, or NULL with what went wrong on stdout. A line that an
 * earlier test did not wait for is not taken for the answer.
 */
static inline char *control(int fd, const char *format, ...)
{
	static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
	char command[128], *answer = NULL;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(command, sizeof(command) - 1, format, args);
	va_end(args);
	if (len < 0 || len >= (int)sizeof(command) - 1)
		return NULL;
	pthread_mutex_lock(&one_at_a_time);
	tcflush(fd, TCIFLUSH);
	command[len] = '\n';
	if (write(fd, command, len + 1) == len + 1) {
		answer = malloc(CONTROL_MAX_ANSWER);
		if (answer && control_line(fd, answer, CONTROL_MAX_ANSWER) < 2)
			snprintf(answer, CONTROL_MAX_ANSWER, "no answer");
	}
	pthread_mutex_unlock(&one_at_a_time);
	if (answer && !strncmp(answer, "ok", 2))
		return answer;
	command[len] = '\0';
	printf("# mlx5-model: %s: %s\n", command, answer ?: "not sent");
	free(answer);
	return NULL;
}

/* A command without an answer but "ok". Returns whether it worked. */
#define control_do(fd, ...)                                \
	({                                                 \
		char *__answer = control(fd, __VA_ARGS__); \
		bool __done = __answer;                    \
							   \
		free(__answer);                            \
		__done;                                    \
	})

/* The number "NAME=..." of an answer, or -1. */
static inline long long control_number(int fd, const char *command, const char *name)
{
	char *answer = control(fd, "%s", command), *found = answer ? strstr(answer, name) : NULL;
	long long number = found ? strtoll(found + strlen(name) + 1, NULL, 16) : -1;

	free(answer);
	return number;
}

#endif
