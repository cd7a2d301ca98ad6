/* A stand-in for the driver's library, libnvidia-ml.so.1, that answers what a script says; README.md tells how.
 *
 * The script is the text file that NVML_SCRIPT names, read again whenever it was replaced:
 *
 *     gpus = 2                              how many there are
 *     gpu.*.power_mw = 250000               for every GPU; gpu.1.power_mw goes before it
 *     gpu.1.power_mw = N/A                  the call returns 3, not supported
 *     gpu.1.power_mw = !15                  the call returns 15
 *     gpu.0.lost = 1                        every call about that GPU, and its look-up, returns 15
 *     gpu.0.processes = 11:1048576,12:N/A   pid:bytes
 *     result.nvmlDeviceGetName = 999        every such call returns 999; result.1.nvmlDeviceGetName for one GPU
 *     hang.nvmlDeviceGetPowerUsage = 2000   such a call takes 2 s; hang.1.nvmlDeviceGetPowerUsage for one GPU
 *     driver.loaded = 0                     initialising returns 9, all else 1
 *     driver.generation = 2                 the driver was loaded anew: all returns 1 until initialised again
 *
 * Each call adds a line "<process> <thread> <function> <GPU or -1> <result>" to the file that NVML_CALLS names.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long long u64;
typedef void *device;
typedef int result;
enum {
  SUCCESS = 0,
  UNINITIALIZED = 1,
  INVALID_ARGUMENT = 2,
  NOT_SUPPORTED = 3,
  INSUFFICIENT_SIZE = 7,
  DRIVER_NOT_LOADED = 9,
  GPU_IS_LOST = 15,
  ARGUMENT_VERSION_MISMATCH = 25,
  GPU_NOT_FOUND = 28,
};
enum { NO_GPUS_IS_FINE = 1 };

/* ---------- the script ---------- */

static const char DEFAULTS[] =
    "gpus = 1\n"
    "driver.loaded = 1\n"
    "driver.generation = 1\n"
    "driver.version = 580.105.08\n"
    "driver.nvml = 13.580.105.08\n"
    "driver.cuda = 13000\n"
    "gpu.*.lost = 0\n"
    "gpu.*.name = NVIDIA H100 80GB HBM3\n"
    "gpu.*.serial = 1650000000001\n"
    "gpu.*.vbios = 96.00.99.00.01\n"
    "gpu.*.architecture = 9\n"
    "gpu.*.capability_major = 9\n"
    "gpu.*.capability_minor = 0\n"
    "gpu.*.utilization = 0\n"
    "gpu.*.memory_utilization = 0\n"
    "gpu.*.encoder = 0\n"
    "gpu.*.decoder = 0\n"
    "gpu.*.window_us = 1000000\n"
    "gpu.*.memory_total = 85520809984\n"
    "gpu.*.memory_reserved = 502267904\n"
    "gpu.*.memory_used = 0\n"
    "gpu.*.power_mw = 69850\n"
    "gpu.*.enforced_mw = 700000\n"
    "gpu.*.set_mw = 700000\n"
    "gpu.*.default_mw = 700000\n"
    "gpu.*.minimum_mw = 200000\n"
    "gpu.*.maximum_mw = 700000\n"
    "gpu.*.energy_mj = 600000\n"
    "gpu.*.temperature = 41\n"
    "gpu.*.clock.0 = 345\n"
    "gpu.*.clock.1 = 345\n"
    "gpu.*.clock.2 = 2619\n"
    "gpu.*.clock.3 = 765\n"
    "gpu.*.clock_max.0 = 1980\n"
    "gpu.*.clock_max.1 = 1980\n"
    "gpu.*.clock_max.2 = 2619\n"
    "gpu.*.clock_max.3 = 1545\n"
    "gpu.*.performance_state = 0\n"
    "gpu.*.pcie_kb = 0\n";

enum { MOST_LINES = 1024 };
struct script {
  struct stat file;
  int lines;
  char *key[MOST_LINES], *value[MOST_LINES];
};
static struct script *_Atomic current;
static pthread_mutex_t reading = PTHREAD_MUTEX_INITIALIZER;

static char *trimmed(char *text) {
  text += strspn(text, " \t");
  for (char *end = text + strlen(text); end > text && strchr(" \t\r\n", end[-1]);) *--end = 0;
  return text;
}

static struct script *parsed(const struct stat *file, const char *path) {
  struct script *script = calloc(1, sizeof *script);
  script->file = *file;
  char *text = calloc(1, sizeof DEFAULTS + file->st_size);
  strcpy(text, DEFAULTS);
  int opened = open(path, O_RDONLY | O_CLOEXEC);
  if (opened < 0 || read(opened, text + strlen(DEFAULTS), file->st_size) != file->st_size) abort();
  close(opened);
  for (char *line, *rest = text; (line = strsep(&rest, "\n")) && script->lines < MOST_LINES;) {
    char *equals = strchr(line, '=');
    if (!equals) continue;
    *equals = 0;
    script->key[script->lines] = trimmed(line);
    script->value[script->lines++] = trimmed(equals + 1);
  }
  return script;
}

/* An earlier script is never freed, since another thread may still be reading its words. */
static void follow_script(void) {
  const char *path = getenv("NVML_SCRIPT");
  struct stat now;
  if (!path || stat(path, &now)) abort();
  pthread_mutex_lock(&reading);
  struct script *script = current;
  if (!script || script->file.st_ino != now.st_ino || script->file.st_mtim.tv_nsec != now.st_mtim.tv_nsec ||
      script->file.st_mtim.tv_sec != now.st_mtim.tv_sec)
    current = parsed(&now, path);
  pthread_mutex_unlock(&reading);
}

static char *said(const char *format, ...) {
  char key[160];
  va_list words;
  va_start(words, format);
  vsnprintf(key, sizeof key, format, words);
  va_end(words);
  struct script *script = current;
  for (int line = script->lines; line-- > 0;)
    if (!strcmp(script->key[line], key)) return script->value[line];
  return NULL;
}

static long long number(const char *text) { return text ? strtoll(text, NULL, 0) : 0; }

/* ---------- handles: of one GPU, for as long as the driver stays loaded ---------- */

static int opened_times, opened_generation;

static device handle(int index) {
  return (device)((0x4e56ull << 48) | ((u64)opened_generation << 16) | (u64)(index + 1));
}

static int index_of(device gpu) { return (int)((u64)gpu & 0xffff) - 1; }

static char *said_of(device gpu, const char *key) {
  char *own = said("gpu.%d.%s", index_of(gpu), key);
  return own ? own : said("gpu.*.%s", key);
}

/* ---------- what every call does ---------- */

static void log_call(const char *function, int index, result answer) {
  const char *path = getenv("NVML_CALLS");
  if (!path) return;
  int calls = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  dprintf(calls, "%d %ld %s %d %d\n", getpid(), (long)syscall(SYS_gettid), function, index, answer);
  close(calls);
}

/* As a call that the driver holds: no signal ends it. */
static void hang(long long milliseconds) {
  struct timespec left = {milliseconds / 1000, milliseconds % 1000 * 1000000};
  while (nanosleep(&left, &left));
}

static result scripted(const char *function, int index) {
  follow_script();
  char *hanging = said("hang.%d.%s", index, function);
  hang(number(hanging ? hanging : said("hang.%s", function)));
  follow_script();
  char *own = said("result.%d.%s", index, function);
  return (result)number(own ? own : said("result.%s", function));
}

static result state(device gpu) {
  if (!opened_times || !number(said("driver.loaded")) || number(said("driver.generation")) != opened_generation)
    return UNINITIALIZED;
  if (!gpu) return SUCCESS;
  if (gpu != handle(index_of(gpu))) return INVALID_ARGUMENT;
  return number(said_of(gpu, "lost")) ? GPU_IS_LOST : SUCCESS;
}

static result asked(const char *function, device gpu) {
  int index = gpu ? index_of(gpu) : -1;
  result answer = scripted(function, index);
  result trouble = state(gpu);
  if (trouble) answer = trouble;
  log_call(function, index, answer);
  return answer;
}

#define ASKED(gpu) \
  do { \
    result refusal = asked(__func__, gpu); \
    if (refusal) return refusal; \
  } while (0)

/* ---------- words of the script as answers ---------- */

static result refused(const char *word) {
  if (!word || !strcmp(word, "N/A")) return NOT_SUPPORTED;
  return *word == '!' ? (result)number(word + 1) : SUCCESS;
}

static result number_of(device gpu, const char *key, u64 *answer) {
  char *word = said_of(gpu, key);
  result refusal = refused(word);
  if (!refusal) *answer = *word == '-' ? (u64)strtoll(word, NULL, 0) : strtoull(word, NULL, 0);
  return refusal;
}

static result text(const char *word, char *answer, u32 room) {
  result refusal = refused(word);
  if (refusal) return refusal;
  if (strlen(word) >= room) return INSUFFICIENT_SIZE;
  strcpy(answer, word);
  return SUCCESS;
}

static result pair_of(device gpu, const char *one, const char *other, u32 *first, u32 *second) {
  u64 numbers[2] = {0};
  result refusal = number_of(gpu, one, &numbers[0]);
  if (!refusal) refusal = number_of(gpu, other, &numbers[1]);
  if (refusal) return refusal;
  *first = (u32)numbers[0];
  *second = (u32)numbers[1];
  return SUCCESS;
}

/* ---------- the library's functions, of which a build may hide some, as an older driver lacks them ---------- */

result nvmlInitWithFlags(u32 flags) {
  result answer = scripted(__func__, -1);
  if (!answer && !number(said("driver.loaded"))) answer = DRIVER_NOT_LOADED;
  if (!answer && !number(said("gpus")) && !(flags & NO_GPUS_IS_FINE)) answer = GPU_NOT_FOUND;
  if (!answer) {
    opened_times++;
    opened_generation = (int)number(said("driver.generation"));
  }
  log_call(__func__, -1, answer);
  return answer;
}

result nvmlShutdown(void) {
  result answer = scripted(__func__, -1);
  if (!answer && !opened_times) answer = UNINITIALIZED;
  if (!answer) opened_times--;
  log_call(__func__, -1, answer);
  return answer;
}

const char *nvmlErrorString(result code) { return "an error of the stand-in"; }

#define TEXT_OF_SYSTEM(function, key) \
  result function(char *answer, u32 room) { \
    ASKED(NULL); \
    return text(said(key), answer, room); \
  }
TEXT_OF_SYSTEM(nvmlSystemGetDriverVersion, "driver.version")
TEXT_OF_SYSTEM(nvmlSystemGetNVMLVersion, "driver.nvml")

result nvmlSystemGetCudaDriverVersion(int *answer) {
  ASKED(NULL);
  result refusal = refused(said("driver.cuda"));
  if (!refusal) *answer = (int)number(said("driver.cuda"));
  return refusal;
}

result nvmlDeviceGetCount_v2(u32 *answer) {
  ASKED(NULL);
  *answer = (u32)number(said("gpus"));
  return SUCCESS;
}

result nvmlDeviceGetHandleByIndex_v2(u32 index, device *answer) {
  ASKED(NULL);
  if (index >= (u32)number(said("gpus"))) return INVALID_ARGUMENT;
  if (number(said_of(handle(index), "lost"))) return GPU_IS_LOST;
  result refusal = (result)number(said("result.%u.%s", index, __func__));
  if (!refusal) *answer = handle(index);
  return refusal;
}

#define TEXT(function, key) \
  result function(device gpu, char *answer, u32 room) { \
    ASKED(gpu); \
    return text(said_of(gpu, key), answer, room); \
  }
TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetSerial, "serial")
TEXT(nvmlDeviceGetVbiosVersion, "vbios")

result nvmlDeviceGetUUID(device gpu, char *answer, u32 room) {
  ASKED(gpu);
  char *own = said_of(gpu, "uuid");
  if (own) return text(own, answer, room);
  snprintf(answer, room, "GPU-%08x-0000-0000-0000-%012x", index_of(gpu), index_of(gpu));
  return SUCCESS;
}

struct pci {
  char legacy[16];
  u32 domain, bus, slot, identifier, subsystem;
  char text[32];
};
result nvmlDeviceGetPciInfo_v3(device gpu, struct pci *answer) {
  ASKED(gpu);
  memset(answer, 0, sizeof *answer);
  answer->bus = 0x18 + (u32)index_of(gpu);
  snprintf(answer->text, sizeof answer->text, "00000000:%02X:00.0", answer->bus);
  return SUCCESS;
}

#define NUMBER(function, type, key) \
  result function(device gpu, type *answer) { \
    ASKED(gpu); \
    u64 found = 0; \
    result refusal = number_of(gpu, key, &found); \
    if (!refusal) *answer = (type)found; \
    return refusal; \
  }
NUMBER(nvmlDeviceGetArchitecture, u32, "architecture")
NUMBER(nvmlDeviceGetPowerUsage, u32, "power_mw")
NUMBER(nvmlDeviceGetEnforcedPowerLimit, u32, "enforced_mw")
NUMBER(nvmlDeviceGetPowerManagementLimit, u32, "set_mw")
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, u32, "default_mw")
NUMBER(nvmlDeviceGetTotalEnergyConsumption, u64, "energy_mj")
NUMBER(nvmlDeviceGetPerformanceState, u32, "performance_state")

#define PAIR(function, one, other) \
  result function(device gpu, u32 *first, u32 *second) { \
    ASKED(gpu); \
    return pair_of(gpu, one, other, first, second); \
  }
PAIR(nvmlDeviceGetCudaComputeCapability, "capability_major", "capability_minor")
PAIR(nvmlDeviceGetEncoderUtilization, "encoder", "window_us")
PAIR(nvmlDeviceGetDecoderUtilization, "decoder", "window_us")
PAIR(nvmlDeviceGetPowerManagementLimitConstraints, "minimum_mw", "maximum_mw")

struct utilization {
  u32 gpu, memory;
};
result nvmlDeviceGetUtilizationRates(device gpu, struct utilization *answer) {
  ASKED(gpu);
  return pair_of(gpu, "utilization", "memory_utilization", &answer->gpu, &answer->memory);
}

static result clock_of(device gpu, const char *key, u32 kind, u32 *answer) {
  char numbered[32];
  snprintf(numbered, sizeof numbered, "%s.%u", key, kind);
  u64 found = 0;
  result refusal = number_of(gpu, numbered, &found);
  if (!refusal) *answer = (u32)found;
  return refusal;
}
result nvmlDeviceGetClockInfo(device gpu, u32 kind, u32 *answer) {
  ASKED(gpu);
  return clock_of(gpu, "clock", kind, answer);
}
result nvmlDeviceGetMaxClockInfo(device gpu, u32 kind, u32 *answer) {
  ASKED(gpu);
  return clock_of(gpu, "clock_max", kind, answer);
}

result nvmlDeviceGetTemperature(device gpu, u32 sensor, u32 *answer) {
  ASKED(gpu);
  u64 found = 0;
  result refusal = number_of(gpu, "temperature", &found);
  if (!refusal) *answer = (u32)found;
  return refusal;
}

struct temperature {
  u32 version, sensor;
  int celsius;
};
result nvmlDeviceGetTemperatureV(device gpu, struct temperature *answer) {
  ASKED(gpu);
  if (answer->version != (1 << 24 | sizeof *answer)) return ARGUMENT_VERSION_MISMATCH;
  u64 found = 0;
  result refusal = number_of(gpu, "temperature", &found);
  if (!refusal) answer->celsius = (int)found;
  return refusal;
}

struct amounts {
  u64 total, reserved, used;
};
static result memory_of(device gpu, struct amounts *answer) {
  result refusal = number_of(gpu, "memory_total", &answer->total);
  if (!refusal) refusal = number_of(gpu, "memory_used", &answer->used);
  if (!refusal) refusal = number_of(gpu, "memory_reserved", &answer->reserved);
  return refusal;
}

struct memory {
  u64 total, free, used;
};
result nvmlDeviceGetMemoryInfo(device gpu, struct memory *answer) {
  ASKED(gpu);
  struct amounts found = {0};
  result refusal = memory_of(gpu, &found);
  u64 used = found.used + found.reserved; /* as the first version of this call has it */
  if (!refusal) *answer = (struct memory){found.total, found.total - used, used};
  return refusal;
}

struct memory_v2 {
  u32 version;
  u64 total, reserved, free, used;
};
result nvmlDeviceGetMemoryInfo_v2(device gpu, struct memory_v2 *answer) {
  ASKED(gpu);
  if (answer->version != (2 << 24 | sizeof *answer)) return ARGUMENT_VERSION_MISMATCH;
  struct amounts found = {0};
  result refusal = memory_of(gpu, &found);
  u64 free = found.total - found.used - found.reserved;
  if (!refusal) *answer = (struct memory_v2){answer->version, found.total, found.reserved, free, found.used};
  return refusal;
}

struct process {
  u32 pid;
  u64 bytes;
  u32 gpu_instance, compute_instance;
};
enum { MOST_PROCESSES = 256 };
static result processes_of(device gpu, const char *key, u32 *count, struct process *answer) {
  struct process found[MOST_PROCESSES];
  char *words = said_of(gpu, key);
  if (words && *words == '!') return refused(words);
  u32 room = *count, listed = 0;
  while (words && *words && listed < MOST_PROCESSES) {
    char *bytes;
    u32 pid = (u32)strtoul(words, &bytes, 0);
    u64 used = !strncmp(bytes, ":N/A", 4) ? ~0ull : strtoull(bytes + 1, NULL, 0);
    found[listed++] = (struct process){pid, used, ~0u, ~0u};
    words = strchr(words, ',');
    if (words) words++;
  }
  *count = listed;
  if (!listed) return SUCCESS;
  if (!answer || room < listed) return INSUFFICIENT_SIZE;
  memcpy(answer, found, listed * sizeof *found);
  return SUCCESS;
}

#define PROCESSES(function, key) \
  result function(device gpu, u32 *count, struct process *answer) { \
    ASKED(gpu); \
    return processes_of(gpu, key, count, answer); \
  }
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, "processes")
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, "processes")
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2, "mps_processes")
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3, "mps_processes")

/* Blocks for its 20 ms, as the driver's does. */
result nvmlDeviceGetPcieThroughput(device gpu, u32 direction, u32 *answer) {
  ASKED(gpu);
  hang(20);
  u64 found = 0;
  result refusal = number_of(gpu, "pcie_kb", &found);
  if (!refusal) *answer = (u32)found;
  return refusal;
}

_Static_assert(sizeof(struct pci) == 68 && sizeof(struct temperature) == 12 && sizeof(struct memory_v2) == 40 &&
                   sizeof(struct process) == 24,
               "as the driver lays them out");
