/* What a test makes of the machine under one program: a file system that hangs, and a clock that was set.

   FAULTS names a folder: while the file `hang` is there, statvfs of the folder `hung` beside it does not return;
   the file `clock` holds the seconds by which the time of day is wrong. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char *beside(const char *name, char *path, size_t size) {
    snprintf(path, size, "%s/%s", getenv("FAULTS"), name);
    return path;
}

static void hang(const char *asked) {
    char hung[4096], told[4096];
    while (!strcmp(asked, beside("hung", hung, sizeof hung)) && !access(beside("hang", told, sizeof told), F_OK))
        usleep(20000);
}

int statvfs(const char *path, struct statvfs *room) {
    int (*real)(const char *, struct statvfs *) = dlsym(RTLD_NEXT, "statvfs");
    hang(path);
    return real(path, room);
}

int statvfs64(const char *path, struct statvfs64 *room) {
    int (*real)(const char *, struct statvfs64 *) = dlsym(RTLD_NEXT, "statvfs64");
    hang(path);
    return real(path, room);
}

static time_t wrong(void) {
    char path[4096];
    long seconds = 0;
    FILE *file = fopen(beside("clock", path, sizeof path), "r");
    if (file) {
        if (fscanf(file, "%ld", &seconds) != 1)
            seconds = 0;
        fclose(file);
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && clock == CLOCK_REALTIME)
        now->tv_sec += wrong();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int failed = real(now, zone);
    if (!failed)
        now->tv_sec += wrong();
    return failed;
}

time_t time(time_t *told) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (told)
        *told = now.tv_sec;
    return now.tv_sec;
}
