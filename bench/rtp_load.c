/* Calls through an RTP relay: sends 20 ms packets of PCMU both ways and measures loss and latency.
 *
 * usage: rtp_load WARM_UP_S SECONDS MAP      MAP holds a line a call: A's port, its relay port, B's port, its relay port
 *
 * A sends to its relay port and B must receive it, and the other way round. Sends are spread evenly over 20 ms.
 * Latency is from the instant written into the payload to the kernel's receive stamp. One thread, meant for a core
 * of its own. Prints "begin" and "end" around the measured time, for whoever measures the relay, then the result.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CALLS = 8192, BATCH = 32, PACKET = 172, EVENTS = 256, BINS = 1000000 };
static const uint64_t INTERVAL_NS = 20000000, SECOND_NS = 1000000000;
static const uint32_t MAGIC = 0x52696e67;

struct side { int socket; struct sockaddr_in relay; };
struct stamp { uint64_t sent_at; uint32_t magic; };

static struct side sides[2 * MAX_CALLS]; /* A and B of call n are 2n and 2n+1 */
static uint32_t latency_us[BINS];
static uint64_t received, sent, begin_at, end_at;

static struct mmsghdr messages[BATCH];
static struct iovec vectors[BATCH];
static uint8_t packets[BATCH][PACKET + 84], controls[BATCH][64];

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void open_side(struct side *side, int port, int relay, int epoll)
{
    int size = 1 << 20, on = 1;
    struct sockaddr_in own = loopback(port);
    struct epoll_event event = {.events = EPOLLIN};
    side->socket = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    side->relay = loopback(relay);
    setsockopt(side->socket, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(side->socket, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    if (side->socket < 0 || bind(side->socket, (struct sockaddr *)&own, sizeof own) != 0)
        fail("bind");
    if (connect(side->socket, (struct sockaddr *)&side->relay, sizeof side->relay) != 0)
        fail("connect");
    event.data.fd = side->socket;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, side->socket, &event) != 0)
        fail("epoll_ctl");
}

static uint64_t kernel_stamp(struct msghdr *header)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec t;
            memcpy(&t, CMSG_DATA(c), sizeof t);
            return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
        }
    return now_ns();
}

static void take(int index)
{
    struct stamp stamp;
    if (messages[index].msg_len < PACKET)
        return;
    memcpy(&stamp, packets[index] + 12, sizeof stamp);
    if (stamp.magic != MAGIC || stamp.sent_at < begin_at || stamp.sent_at >= end_at)
        return;
    uint64_t at = kernel_stamp(&messages[index].msg_hdr);
    uint64_t micros = at > stamp.sent_at ? (at - stamp.sent_at) / 1000 : 0;
    latency_us[micros < BINS ? micros : BINS - 1]++;
    received++;
}

static void drain(int socket)
{
    for (;;) {
        for (int i = 0; i < BATCH; i++)
            messages[i].msg_hdr.msg_controllen = sizeof controls[i];
        int count = recvmmsg(socket, messages, BATCH, 0, NULL);
        for (int i = 0; i < count; i++)
            take(i);
        if (count < BATCH)
            return;
    }
}

static int drain_ready(int epoll, int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(epoll, events, EVENTS, timeout_ms);
    for (int i = 0; i < ready; i++)
        drain(events[i].data.fd);
    return ready;
}

static void send_packet(int side, uint32_t round)
{
    uint8_t packet[PACKET];
    uint32_t timestamp = htonl(round * 160), ssrc = htonl(0x10000u + (uint32_t)side);
    uint16_t seq = htons((uint16_t)round);
    struct stamp stamp = {.sent_at = now_ns(), .magic = MAGIC};
    memset(packet, 0xd5, sizeof packet);
    packet[0] = 0x80;
    packet[1] = 0;
    memcpy(packet + 2, &seq, sizeof seq);
    memcpy(packet + 4, &timestamp, sizeof timestamp);
    memcpy(packet + 8, &ssrc, sizeof ssrc);
    memcpy(packet + 12, &stamp, sizeof stamp);
    if (send(sides[side].socket, packet, sizeof packet, 0) == (ssize_t)sizeof packet && stamp.sent_at >= begin_at &&
        stamp.sent_at < end_at)
        sent++;
}

static uint64_t percentile(double share)
{
    uint64_t seen = 0, wanted = (uint64_t)(share * (double)received);
    for (int i = 0; i < BINS; i++) {
        seen += latency_us[i];
        if (seen > wanted)
            return (uint64_t)i;
    }
    return BINS;
}

static void announce(const char *what)
{
    puts(what);
    fflush(stdout);
}

int main(int count, char **arguments)
{
    int calls = 0, ports[4], epoll = epoll_create1(0);
    FILE *map = count == 4 ? fopen(arguments[3], "r") : NULL;
    if (map == NULL)
        return fprintf(stderr, "usage: rtp_load WARM_UP_S SECONDS MAP\n"), 2;
    while (calls < MAX_CALLS && fscanf(map, "%d %d %d %d", ports, ports + 1, ports + 2, ports + 3) == 4) {
        open_side(&sides[2 * calls], ports[0], ports[1], epoll);
        open_side(&sides[2 * calls + 1], ports[2], ports[3], epoll);
        calls++;
    }
    fclose(map);
    if (calls == 0)
        return fprintf(stderr, "rtp_load: no calls\n"), 2;
    for (int i = 0; i < BATCH; i++) {
        vectors[i] = (struct iovec){packets[i], sizeof packets[i]};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i], .msg_iovlen = 1, .msg_control = controls[i]};
    }
    uint64_t start_at = now_ns(), step = INTERVAL_NS / (uint64_t)(2 * calls);
    begin_at = start_at + (uint64_t)(atof(arguments[1]) * 1e9);
    end_at = begin_at + (uint64_t)(atof(arguments[2]) * 1e9);
    int begun = 0, slot = 0;
    uint32_t round = 0;
    for (uint64_t at = start_at; at < end_at; at = now_ns()) {
        if (!begun && at >= begin_at) {
            begun = 1;
            announce("begin");
        }
        int burst = 0;
        while (burst < BATCH && start_at + round * INTERVAL_NS + (uint64_t)slot * step <= at) {
            int call = slot % calls; /* all A first, then all B: a relay sees its two legs 10 ms apart */
            send_packet(2 * call + slot / calls, round);
            burst++;
            if (++slot == 2 * calls) {
                slot = 0;
                round++;
            }
        }
        if (drain_ready(epoll, 0) <= 0 && burst == 0) {
            struct timespec pause = {0, 20000};
            nanosleep(&pause, NULL);
        }
    }
    announce("end");
    while (drain_ready(epoll, 300) > 0)
        ;
    printf("sent=%llu received=%llu p50_us=%llu p99_us=%llu p999_us=%llu\n", (unsigned long long)sent,
           (unsigned long long)received, (unsigned long long)percentile(0.5), (unsigned long long)percentile(0.99),
           (unsigned long long)percentile(0.999));
    return 0;
}
