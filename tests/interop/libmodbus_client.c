/* A master made of libmodbus.  Prints what it read, one "name value" a line; refusals as the exception's number.
 *   libmodbus_client tcp PORT read | rtu DEVICE read | ... write KW                                                 */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void must(int done, const char *what) {
    if (done < 0) { fprintf(stderr, "%s: %s\n", what, modbus_strerror(errno)); exit(1); }
}

static void refused(int done, const char *what) {
    printf("%s %d\n", what, done >= 0 ? 0 : errno > MODBUS_ENOBASE ? errno - MODBUS_ENOBASE : -1);
}

/* modbus_set_float_abcd of 3.1.6 puts the bytes in the order DCBA, unlike its own modbus_get_float_abcd. */
static void set_float(float value, uint16_t *words) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    words[0] = (uint16_t) (bits >> 16);
    words[1] = (uint16_t) bits;
}

static void read_all(modbus_t *ctx) {
    uint16_t words[10];
    uint8_t bits[3];
    must(modbus_read_input_registers(ctx, 0, 10, words), "input registers");
    must(modbus_read_input_bits(ctx, 0, 3, bits), "discrete inputs");
    printf("bus.18.v_pu %.9g\nbus.33.v_pu %.9g\n", modbus_get_float_abcd(words), modbus_get_float_cdab(words + 2));
    printf("grid.slack_q_kvar %.2f\n", MODBUS_GET_INT32_FROM_INT16(words, 8) / 100.0);
    printf("line.18-33.closed %d\nline.25-29.closed %d\ngrid.converged %d\n", bits[0], bits[1], bits[2]);
}

static void write_all(modbus_t *ctx, float kw) {
    uint16_t words[2], back[2], steps = 0;
    uint8_t ties[2] = {1, 1}, seen[2] = {0, 0};
    set_float(kw, words);
    must(modbus_write_registers(ctx, 0, 2, words), "function 16");
    must(modbus_write_register(ctx, 3, 1), "function 6");
    must(modbus_write_bits(ctx, 0, 2, ties), "function 15");
    for (int i = 0; i < 200; i++) {
        must(modbus_read_registers(ctx, 0, 2, back), "function 3");
        must(modbus_read_registers(ctx, 3, 1, &steps), "function 3");
        must(modbus_read_bits(ctx, 0, 2, seen), "function 1");
        if (modbus_get_float_abcd(back) == kw && steps == 1 && seen[0] && seen[1]) break;
        usleep(20000);
    }
    printf("set %.9g\nsteps %d\nties %d%d\n", modbus_get_float_abcd(back), steps, seen[0], seen[1]);
    must(modbus_mask_write_register(ctx, 8, 0xFFFC, 0), "function 22");
    set_float(-kw, words);
    must(modbus_write_and_read_registers(ctx, 0, 2, words, 3, 1, &steps), "function 23");
    printf("exchanged %d\n", steps);
    refused(modbus_write_registers(ctx, 6, 2, words), "read_only");
    refused(modbus_write_register(ctx, 0, 1), "half");
    refused(modbus_write_register(ctx, 3, 5), "range");
    refused(modbus_write_register(ctx, 100, 1), "unmapped");
    refused(modbus_write_bit(ctx, 2, 1), "no_coil");
    refused(modbus_read_registers(ctx, 8, 2, back), "beyond");
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    modbus_t *ctx = strcmp(argv[1], "tcp") == 0 ? modbus_new_tcp("127.0.0.1", atoi(argv[2]))
                                                : modbus_new_rtu(argv[2], 19200, 'N', 8, 2);
    if (ctx == NULL) return 2;
    modbus_set_response_timeout(ctx, 3, 0);
    must(modbus_set_slave(ctx, 1), "unit");
    must(modbus_connect(ctx), "connect");
    if (strcmp(argv[3], "read") == 0) read_all(ctx);
    else if (argc > 4) write_all(ctx, (float) atof(argv[4]));
    modbus_close(ctx);
    modbus_free(ctx);
    return 0;
}
