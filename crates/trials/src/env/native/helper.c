// What the harness cannot do in safe Rust, one system call or two at a time. Compiled at the start of a run.
//
//   helper tun NETNS NAME              makes a TUN device in the namespace; sends its descriptor over the socket on stdin
//   helper run NETNS PROCS SHIM PAGE PROGRAM ARG...
//                                      becomes the program, in the namespace and the control group, with the shim preloaded
//   helper cut DIR                     cuts the power of the ext4 mounted there: what is not on the device is lost
//
// NETNS, PROCS, SHIM and PAGE are paths, or "-" for none. Exit status 99 says that a step failed; stderr says which.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

// Of linux/fs.h and ext4; NOLOGFLUSH: the journal is not written either.
#define SHUTDOWN _IOR('X', 125, uint32_t)
#define NOLOGFLUSH 2

static void check(int ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "helper: %s: %s\n", what, strerror(errno));
  _exit(99);
}

static int given(const char *argument) { return strcmp(argument, "-") != 0; }

static void enter(const char *netns) {
  if (!given(netns)) return;
  int fd = open(netns, O_RDONLY | O_CLOEXEC);
  check(fd >= 0, netns);
  check(setns(fd, CLONE_NEWNET) == 0, "setns");
  close(fd);
}

static void tun(const char *netns, const char *name) {
  enter(netns);
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  check(fd >= 0, "/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  check(ioctl(fd, TUNSETIFF, &request) == 0, "TUNSETIFF");
  char byte = 0;
  struct iovec data = {.iov_base = &byte, .iov_len = 1};
  union {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr aligned;
  } control = {{0}};
  struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  struct cmsghdr *header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &fd, sizeof fd);
  check(sendmsg(0, &message, 0) == 1, "sendmsg");
}

static void run(char **arguments) {
  const char *netns = arguments[0], *procs = arguments[1], *shim = arguments[2], *page = arguments[3];
  enter(netns);
  if (given(procs)) {
    int fd = open(procs, O_WRONLY | O_CLOEXEC);
    check(fd >= 0, procs);
    check(write(fd, "0", 1) == 1, "join the control group");
    close(fd);
  }
  // A session of its own: what a terminal sends to the harness does not reach it.
  setsid();
  if (given(shim)) {
    check(setenv("TRIALS_PAGE", page, 1) == 0 && setenv("LD_PRELOAD", shim, 1) == 0, "setenv");
  }
  execv(arguments[4], arguments + 4);
  check(0, arguments[4]);
}

static void cut(const char *directory) {
  int fd = open(directory, O_RDONLY | O_CLOEXEC);
  check(fd >= 0, directory);
  uint32_t flags = NOLOGFLUSH;
  check(ioctl(fd, SHUTDOWN, &flags) == 0, "shut the file system down");
}

int main(int count, char **arguments) {
  if (count == 4 && !strcmp(arguments[1], "tun")) tun(arguments[2], arguments[3]);
  else if (count >= 7 && !strcmp(arguments[1], "run")) run(arguments + 2);
  else if (count == 3 && !strcmp(arguments[1], "cut")) cut(arguments[2]);
  else {
    fprintf(stderr, "helper: bad arguments\n");
    return 99;
  }
  return 0;
}
