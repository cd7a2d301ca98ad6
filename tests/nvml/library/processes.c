/* Who uses a GPU: lists of processes, and what each does. */
#include "fake.h"

#include <stdio.h>
#include <string.h>

enum { MOST_PROCESSES = 4096 };

struct process {
  u32 pid;
  u64 bytes;
  u32 gpu_instance, compute_instance;
};
_Static_assert(sizeof(struct process) == 24, "as the driver lays it out");

static char *after_comma(char *words) {
  char *comma = strchr(words, ',');
  return comma ? comma + 1 : NULL;
}

/* Of words "pid:bytes", "pid:N/A" or "pid:bytes:gpu instance:compute instance". */
static void list(char *words, struct process each, struct process *found, u32 *count) {
  for (; words && *words && *count < MOST_PROCESSES; words = after_comma(words)) {
    struct process *process = &found[(*count)++];
    *process = each;
    process->bytes = NOT_AVAILABLE;
    sscanf(words, "%u:%llu:%u:%u", &process->pid, &process->bytes, &process->gpu_instance, &process->compute_instance);
    sscanf(words, "%u:N/A:%u:%u", &process->pid, &process->gpu_instance, &process->compute_instance);
  }
}

/* A whole GPU lists those of its instances too. */
static void list_instances(int gpu, const char *key, struct process *found, u32 *count) {
  for (int slot = 0; slot < MOST_INSTANCES; slot++) {
    struct process each = {0};
    if (instance(gpu, slot, &each.gpu_instance, &each.compute_instance))
      list(said_of(handle_of_instance(gpu, slot), "%s", key), each, found, count);
  }
}

static result processes_of(device gpu, const char *key, u32 *count, struct process *answer) {
  static struct process found[MOST_PROCESSES]; /* one call is answered at a time */
  char *words = said_of(gpu, "%s", key);
  if (words && refused(words)) return refused(words);
  struct process each = {.gpu_instance = NO_INSTANCE, .compute_instance = NO_INSTANCE};
  if (slot_of(gpu) != NOBODY) instance(index_of(gpu), slot_of(gpu), &each.gpu_instance, &each.compute_instance);
  u32 room = *count;
  *count = 0;
  list(words, each, found, count);
  if (slot_of(gpu) == NOBODY) list_instances(index_of(gpu), key, found, count);
  if (!*count) return SUCCESS;
  if (!answer || room < *count) return INSUFFICIENT_SIZE;
  memcpy(answer, found, *count * sizeof *found);
  return SUCCESS;
}

#define PROCESSES(function, key) \
  result function(device gpu, u32 *count, struct process *answer) { \
    ASKED(gpu); \
    return call.answer = processes_of(gpu, key, count, answer); \
  }
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v2, "processes")
PROCESSES(nvmlDeviceGetComputeRunningProcesses_v3, "processes")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v2, "graphics_processes")
PROCESSES(nvmlDeviceGetGraphicsRunningProcesses_v3, "graphics_processes")
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v2, "mps_processes")
PROCESSES(nvmlDeviceGetMPSComputeRunningProcesses_v3, "mps_processes")

struct activity {
  u32 pid;
  u64 stamp;
  u32 multiprocessors, memory, encoder, decoder;
};
_Static_assert(sizeof(struct activity) == 32, "as the driver lays it out");

/* No process at all is a success with none, and none that is newer is not found. */
result nvmlDeviceGetProcessUtilization(device gpu, struct activity *answer, u32 *count, u64 since) {
  ASKED(gpu);
  char *words = said_of(gpu, "process_utilization");
  call.answer = refused(words);
  if (call.answer) return call.answer;
  u32 found = 0, room = *count;
  bool any = *words;
  for (; words && *words; words = after_comma(words)) {
    struct activity each = {0};
    sscanf(words, "%u:%llu:%u:%u:%u:%u", &each.pid, &each.stamp, &each.multiprocessors, &each.memory, &each.encoder,
           &each.decoder);
    if (each.stamp <= since) continue;
    if (answer && found < room) answer[found] = each;
    found++;
  }
  *count = found;
  if (!found) return call.answer = any ? NOT_FOUND : SUCCESS;
  return call.answer = answer && found <= room ? SUCCESS : INSUFFICIENT_SIZE;
}
