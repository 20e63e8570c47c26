/* A slave made of libmodbus: one connection at a time, tables of the sizes given, until its standard input ends.
 *   libmodbus_server COILS DISCRETE_INPUTS HOLDING INPUT; prints its port.              */
#include <arpa/inet.h>
#include <modbus.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    modbus_mapping_t *map = modbus_mapping_new(atoi(argv[1]), atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    modbus_t *ctx = modbus_new_tcp("127.0.0.1", 0);
    int door = ctx == NULL || map == NULL ? -1 : modbus_tcp_listen(ctx, 4), peer = -1;
    struct sockaddr_in here;
    socklen_t size = sizeof here;
    if (door < 0 || getsockname(door, (struct sockaddr *) &here, &size) < 0) return 2;
    /* It sleeps this long after what it calls invalid data. */
    modbus_set_response_timeout(ctx, 0, 1000);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    for (;;) {
        struct pollfd ready[2] = {{STDIN_FILENO, POLLIN, 0}, {peer < 0 ? door : peer, POLLIN, 0}};
        if (poll(ready, 2, 60000) <= 0 || ready[0].revents) break;
        if (peer < 0) { peer = modbus_tcp_accept(ctx, &door); continue; }
        uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
        int n = modbus_receive(ctx, query);
        if (n > 0) modbus_reply(ctx, query, n, map);
        else if (n < 0) { modbus_close(ctx); peer = -1; }
    }
    modbus_free(ctx);
    modbus_mapping_free(map);
    return 0;
}
