/* One GPU: a line for each function that answers one word of the script. */
#include "fake.h"

#include <stdio.h>
#include <string.h>

/* ---------- words that are answers as they stand ---------- */

#define TEXT(function, key) \
  result function(device gpu, char *answer, u32 room) { \
    ASKED(gpu); \
    return call.answer = text(said_of(gpu, key), answer, room); \
  }
TEXT(nvmlDeviceGetName, "name")
TEXT(nvmlDeviceGetSerial, "serial")
TEXT(nvmlDeviceGetVbiosVersion, "vbios")
TEXT(nvmlDeviceGetBoardPartNumber, "part")

result nvmlDeviceGetGspFirmwareVersion(device gpu, char *answer) {
  ASKED(gpu);
  return call.answer = text(said_of(gpu, "gsp"), answer, 64);
}

#define NUMBER(function, type, key) \
  result function(device gpu, type *answer) { \
    ASKED(gpu); \
    u64 found = 0; \
    call.answer = number_of(gpu, &found, key); \
    if (!call.answer) *answer = (type)found; \
    return call.answer; \
  }
NUMBER(nvmlDeviceGetArchitecture, u32, "architecture")
NUMBER(nvmlDeviceGetBrand, u32, "brand")
NUMBER(nvmlDeviceGetBoardId, u32, "board_id")
NUMBER(nvmlDeviceGetNumGpuCores, u32, "cores")
NUMBER(nvmlDeviceGetMemoryBusWidth, u32, "bus_width")
NUMBER(nvmlDeviceGetPersistenceMode, u32, "persistence")
NUMBER(nvmlDeviceGetComputeMode, u32, "compute_mode")
NUMBER(nvmlDeviceGetPowerUsage, u32, "power_mw")
NUMBER(nvmlDeviceGetEnforcedPowerLimit, u32, "enforced_mw")
NUMBER(nvmlDeviceGetPowerManagementLimit, u32, "set_mw")
NUMBER(nvmlDeviceGetPowerManagementDefaultLimit, u32, "default_mw")
NUMBER(nvmlDeviceGetTotalEnergyConsumption, u64, "energy_mj")
NUMBER(nvmlDeviceGetPerformanceState, u32, "performance_state")
NUMBER(nvmlDeviceGetPowerState, u32, "performance_state")
NUMBER(nvmlDeviceGetCurrentClocksEventReasons, u64, "reasons")
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, u64, "reasons")
NUMBER(nvmlDeviceGetSupportedClocksEventReasons, u64, "reasons_supported")
NUMBER(nvmlDeviceGetSupportedClocksThrottleReasons, u64, "reasons_supported")
NUMBER(nvmlDeviceGetNumFans, u32, "fans")
NUMBER(nvmlDeviceGetFanSpeed, u32, "fan.0")
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, u32, "pcie_generation")
NUMBER(nvmlDeviceGetMaxPcieLinkGeneration, u32, "pcie_generation_max")
NUMBER(nvmlDeviceGetGpuMaxPcieLinkGeneration, u32, "pcie_generation_max")
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, u32, "pcie_width")
NUMBER(nvmlDeviceGetMaxPcieLinkWidth, u32, "pcie_width_max")
NUMBER(nvmlDeviceGetPcieSpeed, u32, "pcie_mbps")
NUMBER(nvmlDeviceGetPcieReplayCounter, u32, "pcie_replays")
NUMBER(nvmlDeviceGetRetiredPagesPendingStatus, u32, "retired_pending")
NUMBER(nvmlDeviceGetSupportedEventTypes, u64, "events")

result nvmlDeviceGetIndex(device gpu, u32 *answer) {
  ASKED(gpu);
  *answer = (u32)(slot_of(gpu) == NOBODY ? index_of(gpu) : slot_of(gpu));
  return SUCCESS;
}

result nvmlDeviceGetMinorNumber(device gpu, u32 *answer) {
  ASKED(gpu);
  u64 minor = (u64)index_of(gpu);
  if (said_of(gpu, "minor")) call.answer = number_of(gpu, &minor, "minor");
  if (!call.answer) *answer = (u32)minor;
  return call.answer;
}

/* ---------- two words ---------- */

static result pair_of(device gpu, const char *one, const char *other, u32 *first, u32 *second) {
  u64 numbers[2] = {0};
  result refusal = number_of(gpu, &numbers[0], "%s", one);
  if (!refusal) refusal = number_of(gpu, &numbers[1], "%s", other);
  if (refusal) return refusal;
  *first = (u32)numbers[0];
  *second = (u32)numbers[1];
  return SUCCESS;
}

#define PAIR(function, one, other) \
  result function(device gpu, u32 *first, u32 *second) { \
    ASKED(gpu); \
    return call.answer = pair_of(gpu, one, other, first, second); \
  }
PAIR(nvmlDeviceGetCudaComputeCapability, "capability_major", "capability_minor")
PAIR(nvmlDeviceGetEncoderUtilization, "encoder", "window_us")
PAIR(nvmlDeviceGetDecoderUtilization, "decoder", "window_us")
PAIR(nvmlDeviceGetJpgUtilization, "jpeg", "window_us")
PAIR(nvmlDeviceGetOfaUtilization, "optical_flow", "window_us")
PAIR(nvmlDeviceGetPowerManagementLimitConstraints, "minimum_mw", "maximum_mw")
PAIR(nvmlDeviceGetEccMode, "ecc_mode", "ecc_mode_pending")
PAIR(nvmlDeviceGetMigMode, "mig_mode", "mig_mode_pending")
PAIR(nvmlDeviceGetGspFirmwareMode, "gsp_mode", "gsp_mode")

struct utilization {
  u32 gpu, memory;
};
result nvmlDeviceGetUtilizationRates(device gpu, struct utilization *answer) {
  ASKED(gpu);
  return call.answer = pair_of(gpu, "utilization", "memory_utilization", &answer->gpu, &answer->memory);
}

/* ---------- one of several ---------- */

#define NUMBERED(function, key) \
  result function(device gpu, u32 which, u32 *answer) { \
    ASKED(gpu); \
    u64 found = 0; \
    call.answer = number_of(gpu, &found, key ".%u", which); \
    if (!call.answer) *answer = (u32)found; \
    return call.answer; \
  }
NUMBERED(nvmlDeviceGetClockInfo, "clock")
NUMBERED(nvmlDeviceGetMaxClockInfo, "clock_max")
NUMBERED(nvmlDeviceGetTemperatureThreshold, "threshold")
NUMBERED(nvmlDeviceGetFanSpeed_v2, "fan")

result nvmlDeviceGetClock(device gpu, u32 kind, u32 which, u32 *answer) {
  static const char *const WORDS[] = {"clock", "clock_application", "clock_application_default", "clock_max"};
  ASKED(gpu);
  if (which > 3) return call.answer = INVALID_ARGUMENT;
  u64 found = 0;
  call.answer = number_of(gpu, &found, "%s.%u", WORDS[which], kind);
  if (!call.answer) *answer = (u32)found;
  return call.answer;
}

/* Blocks for its 20 ms, as the driver's does. */
result nvmlDeviceGetPcieThroughput(device gpu, u32 direction, u32 *answer) {
  ASKED(gpu);
  u64 found = 0;
  call.answer = number_of(gpu, &found, "pcie_kb");
  if (!call.answer) *answer = (u32)found;
  pause_answering(20);
  return call.answer;
}

/* ---------- answers that carry the version of their layout ---------- */

#define VERSIONED(answer, version) ((answer)->layout == ((version) << 24 | sizeof *(answer)))
#define ONE_WORD(function, type, key, part) \
  result function(device gpu, type *answer) { \
    ASKED(gpu); \
    if (!VERSIONED(answer, 1u)) return call.answer = ARGUMENT_VERSION_MISMATCH; \
    u64 found = 0; \
    call.answer = number_of(gpu, &found, key); \
    if (!call.answer) answer->part = (int)found; \
    return call.answer; \
  }
struct temperature {
  u32 layout, sensor;
  int celsius;
};
struct margin {
  u32 layout;
  int celsius;
};
struct fan {
  u32 layout, which;
  int turns;
};
ONE_WORD(nvmlDeviceGetTemperatureV, struct temperature, "temperature", celsius)
ONE_WORD(nvmlDeviceGetMarginTemperature, struct margin, "margin", celsius)
ONE_WORD(nvmlDeviceGetFanSpeedRPM, struct fan, "fan_rpm", turns)

result nvmlDeviceGetTemperature(device gpu, u32 sensor, u32 *answer) {
  ASKED(gpu);
  u64 found = 0;
  call.answer = sensor ? INVALID_ARGUMENT : number_of(gpu, &found, "temperature");
  if (!call.answer) *answer = (u32)found;
  return call.answer;
}

/* ---------- memory ---------- */

struct amounts {
  u64 total, reserved, used;
};
static result memory_of(device gpu, struct amounts *answer) {
  result refusal = number_of(gpu, &answer->total, "memory_total");
  if (!refusal) refusal = number_of(gpu, &answer->used, "memory_used");
  if (!refusal) refusal = number_of(gpu, &answer->reserved, "memory_reserved");
  return refusal;
}

struct memory {
  u64 total, free, used;
};
result nvmlDeviceGetMemoryInfo(device gpu, struct memory *answer) {
  ASKED(gpu);
  struct amounts found = {0};
  call.answer = memory_of(gpu, &found);
  u64 used = found.used + found.reserved; /* as the first version of this call has it */
  if (!call.answer) *answer = (struct memory){found.total, found.total - used, used};
  return call.answer;
}

struct memory_v2 {
  u32 layout;
  u64 total, reserved, free, used;
};
result nvmlDeviceGetMemoryInfo_v2(device gpu, struct memory_v2 *answer) {
  ASKED(gpu);
  if (!VERSIONED(answer, 2u)) return call.answer = ARGUMENT_VERSION_MISMATCH;
  struct amounts found = {0};
  call.answer = memory_of(gpu, &found);
  u64 free = found.total - found.used - found.reserved;
  if (!call.answer) *answer = (struct memory_v2){answer->layout, found.total, found.reserved, free, found.used};
  return call.answer;
}

result nvmlDeviceGetBAR1MemoryInfo(device gpu, struct memory *answer) {
  ASKED(gpu);
  struct memory found = {0};
  call.answer = number_of(gpu, &found.total, "bar1_total");
  if (!call.answer) call.answer = number_of(gpu, &found.used, "bar1_used");
  found.free = found.total - found.used;
  if (!call.answer) *answer = found;
  return call.answer;
}

/* ---------- faults ---------- */

static const char *const ERRORS[] = {"corrected", "uncorrected"};
static const char *const LIFETIMES[] = {"volatile", "aggregate"};
static const char *const PLACES[] = {"l1", "l2", "dram", "registers", "texture", "shared", "cbu", "sram"};

result nvmlDeviceGetTotalEccErrors(device gpu, u32 error, u32 lifetime, u64 *answer) {
  ASKED(gpu);
  if (error > 1 || lifetime > 1) return call.answer = INVALID_ARGUMENT;
  return call.answer = number_of(gpu, answer, "ecc.%s.%s", ERRORS[error], LIFETIMES[lifetime]);
}

result nvmlDeviceGetMemoryErrorCounter(device gpu, u32 error, u32 lifetime, u32 where, u64 *answer) {
  ASKED(gpu);
  if (error > 1 || lifetime > 1 || where > 7) return call.answer = INVALID_ARGUMENT;
  return call.answer = number_of(gpu, answer, "ecc_at.%s.%s.%s", PLACES[where], ERRORS[error], LIFETIMES[lifetime]);
}

result nvmlDeviceGetDetailedEccErrors(device gpu, u32 error, u32 lifetime, u64 *answer) {
  ASKED(gpu);
  if (error > 1 || lifetime > 1) return call.answer = INVALID_ARGUMENT;
  u64 total = 0;
  call.answer = number_of(gpu, &total, "ecc.%s.%s", ERRORS[error], LIFETIMES[lifetime]);
  for (u32 where = 0; !call.answer && where < 4; where++) {
    answer[where] = 0;
    number_of(gpu, &answer[where], "ecc_at.%s.%s.%s", PLACES[where], ERRORS[error], LIFETIMES[lifetime]);
  }
  return call.answer;
}

result nvmlDeviceGetRemappedRows(device gpu, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failed) {
  ASKED(gpu);
  call.answer = pair_of(gpu, "remapped_correctable", "remapped_uncorrectable", corrected, uncorrected);
  if (!call.answer) call.answer = pair_of(gpu, "remap_pending", "remap_failed", pending, failed);
  return call.answer;
}

result nvmlDeviceGetRowRemapperHistogram(device gpu, u32 *answer) {
  ASKED(gpu);
  char *banks = said_of(gpu, "remap_histogram");
  call.answer = refused(banks);
  if (!call.answer) sscanf(banks, "%u,%u,%u,%u,%u", &answer[0], &answer[1], &answer[2], &answer[3], &answer[4]);
  return call.answer;
}

static result retired(device gpu, u32 cause, u32 *count, u64 *pages, u64 *stamps) {
  static const char *const CAUSES[] = {"single_bit", "double_bit"};
  u64 found = 0;
  result refusal = cause > 1 ? INVALID_ARGUMENT : number_of(gpu, &found, "retired.%s", CAUSES[cause]);
  if (refusal) return refusal;
  u32 room = *count;
  *count = (u32)found;
  if (found && (!pages || room < found)) return INSUFFICIENT_SIZE;
  for (u64 page = 0; page < found; page++) {
    pages[page] = 0x1000 * (page + 1);
    if (stamps) stamps[page] = 1700000000000000 + page;
  }
  return SUCCESS;
}
result nvmlDeviceGetRetiredPages(device gpu, u32 cause, u32 *count, u64 *pages) {
  ASKED(gpu);
  return call.answer = retired(gpu, cause, count, pages, NULL);
}
result nvmlDeviceGetRetiredPages_v2(device gpu, u32 cause, u32 *count, u64 *pages, u64 *stamps) {
  ASKED(gpu);
  return call.answer = retired(gpu, cause, count, pages, stamps);
}

struct violation {
  u64 microseconds, nanoseconds; /* when this was counted, and how long the clocks were held down */
};
result nvmlDeviceGetViolationStatus(device gpu, u32 policy, struct violation *answer) {
  ASKED(gpu);
  u64 held = 0;
  call.answer = number_of(gpu, &held, "violation.%u", policy);
  if (!call.answer) *answer = (struct violation){(u64)(seconds() * 1e6), held};
  return call.answer;
}

/* ---------- NVLink ---------- */

/* A link's own word goes before the one for every link. */
static result link_of(device gpu, u32 link, const char *key, u64 *answer) {
  u64 links = 0;
  result refusal = number_of(gpu, &links, "nvlink.count");
  if (refusal) return refusal;
  if (link >= links) return INVALID_ARGUMENT;
  if (said_of(gpu, "nvlink.%u.%s", link, key)) return number_of(gpu, answer, "nvlink.%u.%s", link, key);
  return number_of(gpu, answer, "nvlink.%s", key);
}

#define OF_A_LINK(function, key) \
  result function(device gpu, u32 link, u32 *answer) { \
    ASKED(gpu); \
    u64 found = 0; \
    call.answer = link_of(gpu, link, key, &found); \
    if (!call.answer) *answer = (u32)found; \
    return call.answer; \
  }
OF_A_LINK(nvmlDeviceGetNvLinkState, "state")
OF_A_LINK(nvmlDeviceGetNvLinkVersion, "version")

result nvmlDeviceGetNvLinkErrorCounter(device gpu, u32 link, u32 counter, u64 *answer) {
  static const char *const COUNTERS[] = {"errors.replay", "errors.recovery", "errors.crc_flit", "errors.crc",
                                         "errors.ecc"};
  ASKED(gpu);
  return call.answer = counter > 4 ? INVALID_ARGUMENT : link_of(gpu, link, COUNTERS[counter], answer);
}

/* ---------- samples of the last seconds ---------- */

struct sample {
  u64 stamp, value;
};
result nvmlDeviceGetSamples(device gpu, u32 kind, u64 since, u32 *type, u32 *count, struct sample *answer) {
  ASKED(gpu);
  char *words = said_of(gpu, "samples.%u", kind);
  call.answer = refused(words);
  if (call.answer) return call.answer;
  u32 found = 0, room = *count;
  for (struct sample each; words; words = strchr(words, ',') ? strchr(words, ',') + 1 : NULL) {
    if (sscanf(words, "%llu:%llu", &each.stamp, &each.value) != 2 || each.stamp <= since) continue;
    if (answer && found < room) answer[found] = each;
    found++;
  }
  *type = 1;
  *count = answer && found > room ? room : found;
  return call.answer = found ? SUCCESS : NOT_FOUND;
}
