/* The driver as a whole: initialising it, its versions, and where its GPUs and their instances are found. */
#define _GNU_SOURCE
#include "fake.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum { NO_GPUS_IS_FINE = 1 };

/* The version of this library, where the file beside it that ends in ".version" tells one. It stays what it was when
 * the library was loaded, however often the file is replaced. */
static char own_version[64];

__attribute__((constructor)) static void read_version(void) {
  Dl_info library;
  char path[4096];
  if (!dladdr(own_version, &library)) return;
  snprintf(path, sizeof path, "%s.version", library.dli_fname);
  FILE *file = fopen(path, "re");
  if (!file) return;
  if (!fgets(own_version, sizeof own_version, file)) *own_version = 0;
  fclose(file);
  own_version[strcspn(own_version, "\n")] = 0;
}

static result initialised(result scripted, u32 flags) {
  if (scripted) return scripted;
  if (!number(said("driver.loaded"))) return DRIVER_NOT_LOADED;
  if (*own_version && strcmp(own_version, said("driver.version"))) return VERSION_MISMATCH;
  if (!gpus() && !(flags & NO_GPUS_IS_FINE)) return GPU_NOT_FOUND;
  opening.times++;
  opening.generation = (int)number(said("driver.generation"));
  return SUCCESS;
}

result nvmlInitWithFlags(u32 flags) {
  CALLED(NOBODY, NOBODY);
  return call.answer = initialised(call.answer, flags);
}

result nvmlInit_v2(void) {
  CALLED(NOBODY, NOBODY);
  return call.answer = initialised(call.answer, 0);
}

result nvmlShutdown(void) {
  CALLED(NOBODY, NOBODY);
  if (!call.answer && !opening.times) call.answer = UNINITIALIZED;
  if (!call.answer) opening.times--;
  return call.answer;
}

const char *nvmlErrorString(result code) { return "an error of the stand-in"; }

#define TEXT(function, key) \
  result function(char *answer, u32 room) { \
    ASKED(NULL); \
    return call.answer = text(said(key), answer, room); \
  }
TEXT(nvmlSystemGetDriverVersion, "driver.version")
TEXT(nvmlSystemGetNVMLVersion, "driver.nvml")

#define CUDA_VERSION(function) \
  result function(int *answer) { \
    ASKED(NULL); \
    char *word = said("driver.cuda"); \
    call.answer = refused(word); \
    if (!call.answer) *answer = (int)number(word); \
    return call.answer; \
  }
CUDA_VERSION(nvmlSystemGetCudaDriverVersion)
CUDA_VERSION(nvmlSystemGetCudaDriverVersion_v2)

result nvmlDeviceGetCount_v2(u32 *answer) {
  ASKED(NULL);
  *answer = (u32)gpus();
  return SUCCESS;
}

/* ---------- where a GPU is found ---------- */

/* A GPU that is lost answers not even here, nor does one whose look-up is refused. */
static result looked_up(const struct call *call, int gpu, device *answer) {
  char *word = said("result.%d.%s", gpu, call->function);
  result refusal = word ? (result)number(word) : lost(gpu);
  if (!refusal) *answer = handle(gpu);
  return refusal;
}

result nvmlDeviceGetHandleByIndex_v2(u32 index, device *answer) {
  CALLED(index < (u32)gpus() ? (int)index : NOBODY, NOBODY);
  result trouble = state(NULL);
  if (trouble || call.answer) return call.answer = trouble ? trouble : call.answer;
  return call.answer = index < (u32)gpus() ? looked_up(&call, (int)index, answer) : INVALID_ARGUMENT;
}

static void uuid_of(device gpu, char *answer, u32 room) {
  char *own = said_of(gpu, "uuid");
  u32 index = (u32)index_of(gpu), slot = (u32)slot_of(gpu);
  if (own) snprintf(answer, room, "%s", own);
  else if (slot_of(gpu) == NOBODY) snprintf(answer, room, "GPU-%08x-0000-0000-0000-%012x", index, index);
  else snprintf(answer, room, "MIG-%08x-0000-0000-%04x-%012x", index, slot, index);
}

result nvmlDeviceGetUUID(device gpu, char *answer, u32 room) {
  ASKED(gpu);
  char *own = said_of(gpu, "uuid");
  if (own && refused(own)) return call.answer = refused(own);
  uuid_of(gpu, answer, room);
  return SUCCESS;
}

result nvmlDeviceGetHandleByUUID(const char *uuid, device *answer) {
  ASKED(NULL);
  char found[128];
  for (int gpu = 0; gpu < gpus(); gpu++) {
    uuid_of(handle(gpu), found, sizeof found);
    if (!strcmp(found, uuid)) return call.answer = looked_up(&call, gpu, answer);
    u32 ids[2];
    for (int slot = 0; slot < MOST_INSTANCES; slot++) {
      if (!instance(gpu, slot, &ids[0], &ids[1])) continue;
      uuid_of(handle_of_instance(gpu, slot), found, sizeof found);
      if (strcmp(found, uuid)) continue;
      *answer = handle_of_instance(gpu, slot);
      return call.answer = lost(gpu);
    }
  }
  return call.answer = NOT_FOUND;
}

struct pci {
  char legacy[16];
  u32 domain, bus, slot, identifier, subsystem;
  char text[32];
};
_Static_assert(sizeof(struct pci) == 68, "as the driver lays it out");

static struct pci pci_of(int gpu) {
  struct pci pci = {.bus = 0x18 + (u32)gpu};
  char *own = said_of(handle(gpu), "pci_bus_id");
  if (own) sscanf(own, "%x:%x:%x", &pci.domain, &pci.bus, &pci.slot);
  pci.identifier = (u32)number(said_of(handle(gpu), "pci_device"));
  snprintf(pci.text, sizeof pci.text, "%08X:%02X:%02X.0", pci.domain, pci.bus & 0xFF, pci.slot & 0xFF);
  snprintf(pci.legacy, sizeof pci.legacy, "%04X:%02X:%02X.0", pci.domain & 0xFFFF, pci.bus & 0xFF, pci.slot & 0xFF);
  return pci;
}

result nvmlDeviceGetPciInfo_v3(device gpu, struct pci *answer) {
  ASKED(gpu);
  *answer = pci_of(index_of(gpu));
  return SUCCESS;
}

result nvmlDeviceGetHandleByPciBusId_v2(const char *address, device *answer) {
  ASKED(NULL);
  for (int gpu = 0; gpu < gpus(); gpu++) {
    struct pci pci = pci_of(gpu);
    if (!strcasecmp(pci.text, address) || !strcasecmp(pci.legacy, address))
      return call.answer = looked_up(&call, gpu, answer);
  }
  return call.answer = NOT_FOUND;
}

/* ---------- the instances that MIG makes of a GPU ---------- */

result nvmlDeviceGetMaxMigDeviceCount(device gpu, u32 *answer) {
  ASKED(gpu);
  u64 most = 0;
  call.answer = number_of(gpu, &most, "mig_count");
  if (call.answer == NOT_SUPPORTED) call.answer = SUCCESS; /* a GPU that cannot be split has none */
  if (!call.answer) *answer = (u32)most;
  return call.answer;
}

result nvmlDeviceGetMigDeviceHandleByIndex(device gpu, u32 slot, device *answer) {
  ASKED(gpu);
  u32 ids[2];
  if (slot_of(gpu) != NOBODY || slot >= MOST_INSTANCES) return call.answer = INVALID_ARGUMENT;
  if (!instance(index_of(gpu), (int)slot, &ids[0], &ids[1])) return call.answer = NOT_FOUND;
  *answer = handle_of_instance(index_of(gpu), (int)slot);
  return SUCCESS;
}

result nvmlDeviceIsMigDeviceHandle(device gpu, u32 *answer) {
  ASKED(gpu);
  *answer = slot_of(gpu) != NOBODY;
  return SUCCESS;
}

result nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device gpu, device *answer) {
  ASKED(gpu);
  if (slot_of(gpu) == NOBODY) return call.answer = INVALID_ARGUMENT;
  *answer = handle(index_of(gpu));
  return SUCCESS;
}

#define INSTANCE_ID(function, which) \
  result function(device gpu, u32 *answer) { \
    ASKED(gpu); \
    u32 ids[2]; \
    if (slot_of(gpu) == NOBODY || !instance(index_of(gpu), slot_of(gpu), &ids[0], &ids[1])) \
      return call.answer = NOT_SUPPORTED; \
    *answer = ids[which]; \
    return SUCCESS; \
  }
INSTANCE_ID(nvmlDeviceGetGpuInstanceId, 0)
INSTANCE_ID(nvmlDeviceGetComputeInstanceId, 1)

struct attributes {
  u32 multiprocessors, copy_engines, decoders, encoders, jpeg, optical_flow, gpu_slices, compute_slices;
  u64 memory_mb;
};
_Static_assert(sizeof(struct attributes) == 40, "as the driver lays it out");

result nvmlDeviceGetAttributes_v2(device gpu, struct attributes *answer) {
  ASKED(gpu);
  if (slot_of(gpu) == NOBODY) return call.answer = NOT_SUPPORTED;
  u64 multiprocessors = 0, slices = 0, memory_mb = 0;
  number_of(gpu, &slices, "slices");
  number_of(gpu, &memory_mb, "memory_mb");
  call.answer = number_of(gpu, &multiprocessors, "multiprocessors");
  if (call.answer) return call.answer;
  *answer = (struct attributes){.multiprocessors = (u32)multiprocessors,
                                .gpu_slices = (u32)slices,
                                .compute_slices = (u32)slices,
                                .memory_mb = memory_mb};
  return SUCCESS;
}
