/* Xids: sets of GPUs to wait for, and the waiting. */
#define _GNU_SOURCE
#include "fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { XID = 0x8, FARTHEST_GAP = 64 };

struct events {
  u64 gpus; /* a bit for each */
  int told; /* the number of the last one, "xid.7"; what happened before the first GPU was registered is not told */
};

struct event {
  device gpu;
  u64 kind, number;
  u32 gpu_instance, compute_instance;
};
_Static_assert(sizeof(struct event) == 32, "as the driver lays it out");

static int latest(int from) {
  for (int number = from + 1; number <= from + FARTHEST_GAP; number++)
    if (said("xid.%d", number)) return latest(number);
  return from;
}

static bool next(struct events *set, struct event *answer) {
  for (int number = set->told + 1; number <= set->told + FARTHEST_GAP; number++) {
    char *word = said("xid.%d", number);
    if (!word) continue;
    set->told = number;
    int gpu = NOBODY;
    *answer = (struct event){.kind = XID, .gpu_instance = NO_INSTANCE, .compute_instance = NO_INSTANCE};
    sscanf(word, "%d:%llu:%u:%u", &gpu, &answer->number, &answer->gpu_instance, &answer->compute_instance);
    if (gpu < 0 || gpu > 63 || !(set->gpus >> gpu & 1)) return next(set, answer);
    answer->gpu = handle(gpu);
    return true;
  }
  return false;
}

result nvmlEventSetCreate(struct events **answer) {
  ASKED(NULL);
  *answer = calloc(1, sizeof **answer);
  return SUCCESS;
}

result nvmlEventSetFree(struct events *set) {
  ASKED(NULL);
  free(set);
  return SUCCESS;
}

result nvmlDeviceRegisterEvents(device gpu, u64 kinds, struct events *set) {
  ASKED(gpu);
  u64 offered = 0;
  call.answer = slot_of(gpu) == NOBODY ? number_of(gpu, &offered, "events") : NOT_SUPPORTED;
  if (!call.answer && kinds & ~offered) call.answer = NOT_SUPPORTED;
  if (call.answer) return call.answer;
  if (!set->gpus) set->told = latest(set->told);
  set->gpus |= 1ull << index_of(gpu);
  return call.answer;
}

/* Without end and at once where a GPU of the set is lost, as drivers do. */
static result waited(struct events *set, u32 milliseconds, struct event *answer) {
  for (double until = seconds() + milliseconds / 1e3;;) {
    result trouble = state(NULL);
    if (trouble) return trouble;
    if (!set->gpus) return NOT_FOUND;
    if (next(set, answer)) return SUCCESS;
    for (int gpu = 0; gpu < gpus(); gpu++)
      if (set->gpus >> gpu & 1 && lost(gpu)) return lost(gpu);
    double left = (until - seconds()) * 1e3;
    if (left <= 0) return TIMEOUT;
    bool still = stands_still();
    pause_answering(left < 2 || still ? left : 2);
    /* A script that stands still has no news, for which to look would take more than all else. */
    if (still) return TIMEOUT;
  }
}

result nvmlEventSetWait_v2(struct events *set, struct event *answer, u32 milliseconds) {
  ASKED(NULL);
  return call.answer = waited(set, milliseconds, answer);
}

struct wait {
  u32 milliseconds, type;
  char uuid[96], module[16];
  u64 kind, number, group, instance, microseconds, trace;
  u32 gpu_instance, compute_instance, rest[11];
  unsigned char size, index;
};
_Static_assert(sizeof(struct wait) == 224, "as the driver lays it out");

result nvmlEventSetWait_v3(struct events *set, struct wait *answer) {
  ASKED(NULL);
  struct event event;
  call.answer = waited(set, answer->milliseconds, &event);
  if (call.answer) return call.answer;
  int gpu = index_of(event.gpu);
  char *own = said_of(event.gpu, "uuid");
  if (own) snprintf(answer->uuid, sizeof answer->uuid, "%s", own);
  else snprintf(answer->uuid, sizeof answer->uuid, "GPU-%08x-0000-0000-0000-%012x", (u32)gpu, (u32)gpu);
  answer->kind = event.kind;
  answer->number = event.number;
  answer->gpu_instance = event.gpu_instance;
  answer->compute_instance = event.compute_instance;
  return SUCCESS;
}
