/* What every call does: it may hang, it may be refused, and it is written down. */
#define _GNU_SOURCE
#include "fake.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t answering = PTHREAD_MUTEX_INITIALIZER; /* the script stays as it is */
static pthread_mutex_t driver = PTHREAD_MUTEX_INITIALIZER;    /* a hung call may keep every other waiting */

struct opening opening;

/* A child that was forked amid a call must find the lock free, and has not initialised the library itself. */
static void before_fork(void) { pthread_mutex_lock(&answering); }
static void after_fork(void) { pthread_mutex_unlock(&answering); }
static void forked(void) {
  opening.times = 0;
  pthread_mutex_unlock(&answering);
}
__attribute__((constructor)) static void expect_forks(void) { pthread_atfork(before_fork, after_fork, forked); }

/* ---------- the log ---------- */

static void write_down(const struct call *call, const char *answer) {
  const char *path = getenv("NVML_CALLS");
  if (!path) return;
  int calls = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  dprintf(calls, "%d %ld %s %d %s %.6f %d\n", getpid(), (long)syscall(SYS_gettid), call->function, call->gpu, answer,
          call->at, call->instance);
  close(calls);
}

static double monotonic(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---------- hanging ---------- */

/* As a call that the driver holds: no signal ends it. */
static void doze(double milliseconds) {
  struct timespec left = {(time_t)(milliseconds / 1000), (long)(milliseconds * 1e6) % 1000000000};
  while (nanosleep(&left, &left));
}

static const char *hanging(const struct call *call) {
  char *word = said("hang.%d.%s", call->gpu, call->function);
  if (!word) word = said("hang.%s", call->function);
  if (!word && call->gpu != NOBODY) word = said("hang.%d.*", call->gpu);
  return word && strcmp(word, "0") ? word : NULL;
}

void pause_answering(double milliseconds) {
  pthread_mutex_unlock(&answering);
  doze(milliseconds);
  pthread_mutex_lock(&answering);
  follow_script();
}

static void hang(const struct call *call) {
  const char *word = hanging(call);
  if (!word) return;
  write_down(call, "hangs");
  if (strcmp(word, "forever")) pause_answering(strtod(word, NULL));
  else
    while ((word = hanging(call)) && !strcmp(word, "forever")) pause_answering(5);
}

/* ---------- a call ---------- */

struct call begun(const char *function, int gpu, int instance) {
  struct call call = {.function = function, .gpu = gpu, .instance = instance, .at = monotonic()};
  pthread_mutex_lock(&answering);
  follow_script();
  if (!says_of_calls()) return call;
  bool locks = number(said("hang.lock"));
  if (locks) {
    pthread_mutex_unlock(&answering);
    pthread_mutex_lock(&driver);
    pthread_mutex_lock(&answering);
    follow_script();
  }
  hang(&call);
  if (locks) pthread_mutex_unlock(&driver);
  char *own = said("result.%d.%s", gpu, function);
  call.answer = (result)number(own ? own : said("result.%s", function));
  return call;
}

void ended(struct call *call) {
  char answer[16];
  snprintf(answer, sizeof answer, "%d", call->answer);
  write_down(call, answer);
  pthread_mutex_unlock(&answering);
}

/* ---------- handles ---------- */

union reference {
  device handle;
  struct {
    u64 compute_instance : 4, gpu_instance : 8, slot : 8, gpu : 12, generation : 16, mark : 16;
  };
};
enum { MARK = 0x4e56 };

device handle(int gpu) {
  union reference reference = {0};
  reference.gpu = (u64)gpu + 1;
  reference.generation = (u64)opening.generation;
  reference.mark = MARK;
  return reference.handle;
}

device handle_of_instance(int gpu, int slot) {
  union reference reference = {.handle = handle(gpu)};
  u32 gpu_instance = 0, compute_instance = 0;
  instance(gpu, slot, &gpu_instance, &compute_instance);
  reference.slot = (u64)slot + 1;
  reference.gpu_instance = gpu_instance;
  reference.compute_instance = compute_instance;
  return reference.handle;
}

int index_of(device gpu) { return (int)(union reference){.handle = gpu}.gpu - 1; }
int slot_of(device gpu) { return (int)(union reference){.handle = gpu}.slot - 1; }
int gpus(void) { return (int)number(said("gpus")); }

/* ---------- what is there ---------- */

bool split(int gpu) {
  char *mode = said_of(handle(gpu), "mig_mode");
  return !refused(mode) && number(mode);
}

bool instance(int gpu, int slot, u32 *gpu_instance, u32 *compute_instance) {
  char *ids = split(gpu) ? said_of(handle(gpu), "mig.%d.ids", slot) : NULL;
  return ids && sscanf(ids, "%u:%u", gpu_instance, compute_instance) == 2;
}

result lost(int gpu) {
  long long how = number(said_of(handle(gpu), "lost"));
  return how == 1 ? GPU_IS_LOST : (result)how;
}

result state(device gpu) {
  if (!opening.times || !number(said("driver.loaded")) || number(said("driver.generation")) != opening.generation)
    return UNINITIALIZED;
  if (!gpu) return SUCCESS;
  int index = index_of(gpu), slot = slot_of(gpu);
  if (index < 0 || gpu != (slot == NOBODY ? handle(index) : handle_of_instance(index, slot))) return INVALID_ARGUMENT;
  u32 ids[2];
  if (slot != NOBODY && !instance(index, slot, &ids[0], &ids[1])) return INVALID_ARGUMENT;
  return lost(index);
}

/* What a GPU no longer tells once MIG splits it. */
static bool told_only_whole(const char *function) {
  static const char *const FUNCTIONS[] = {
      "nvmlDeviceGetUtilizationRates",   "nvmlDeviceGetEncoderUtilization", "nvmlDeviceGetDecoderUtilization",
      "nvmlDeviceGetJpgUtilization",     "nvmlDeviceGetOfaUtilization",     "nvmlDeviceGetSamples",
      "nvmlDeviceGetProcessUtilization", "nvmlDeviceGetRemappedRows",
  };
  for (size_t each = 0; each < sizeof FUNCTIONS / sizeof *FUNCTIONS; each++)
    if (!strcmp(function, FUNCTIONS[each])) return true;
  return false;
}

result refusal_of(device gpu, const char *function, result scripted) {
  result trouble = state(gpu);
  if (trouble || scripted) return trouble ? trouble : scripted;
  return gpu && slot_of(gpu) == NOBODY && told_only_whole(function) && split(index_of(gpu)) ? NOT_SUPPORTED : SUCCESS;
}
