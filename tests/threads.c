/* A process of as many threads as are asked for; says how many it got, and waits. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <unistd.h>

static void *wait_for_ever(void *nothing) {
    pause();
    return nothing;
}

int main(int count, char **words) {
    int listening = socket(AF_INET, SOCK_STREAM, 0), got = 1;
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof place;
    pthread_attr_t small;
    pthread_t thread;
    bind(listening, (struct sockaddr *)&place, size);
    listen(listening, 8);
    getsockname(listening, (struct sockaddr *)&place, &size);
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 16384);
    while (count > 1 && got < atoi(words[1]) && !pthread_create(&thread, &small, wait_for_ever, NULL))
        got++;
    printf("%d %d\n", ntohs(place.sin_port), got);
    fflush(stdout);
    pause();
}
