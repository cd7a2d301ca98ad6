/* The script: a text file of lines "key = value", read again whenever it was replaced. */
#define _GNU_SOURCE
#include "fake.h"

#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct word {
  char *key, *value;
  double area; /* what its number came to before this script, times seconds; of GPM metrics alone */
};

static struct script {
  struct stat file;
  double since;
  char *text;
  u32 room;
  struct word *words; /* an open-addressing table, at most half full */
  bool measured[MOST_METRICS], about_calls, about_fields, still;
} current;

static double loaded;

/* How the words of a GPU begin, spelt once, since every call looks for some. */
#define SPELT_GPUS 64
static char beginnings[SPELT_GPUS][16];

static double seconds_of(struct timespec time) { return (double)time.tv_sec + (double)time.tv_nsec / 1e9; }

static double clock_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return seconds_of(now);
}

__attribute__((constructor)) static void load(void) {
  loaded = clock_now();
  for (int gpu = 0; gpu < SPELT_GPUS; gpu++) snprintf(beginnings[gpu], sizeof *beginnings, "gpu.%d.", gpu);
}

double seconds(void) { return clock_now() - loaded; }

static u32 hashed(u32 hash, const char *text) {
  for (; *text; text++) hash = (hash ^ (unsigned char)*text) * 16777619u;
  return hash;
}

static bool is(const char *whole, const char *prefix, const char *key) {
  size_t length = strlen(prefix);
  return !strncmp(whole, prefix, length) && !strcmp(whole + length, key);
}

static struct word *place(const struct script *script, const char *prefix, const char *key) {
  u32 hash = hashed(hashed(2166136261u, prefix), key) % script->room;
  while (script->words[hash].key && !is(script->words[hash].key, prefix, key)) hash = (hash + 1) % script->room;
  return &script->words[hash];
}

static char *trimmed(char *text) {
  text += strspn(text, " \t");
  for (char *end = text + strlen(text); end > text && strchr(" \t\r\n", end[-1]);) *--end = 0;
  return text;
}

static double area(const struct script *script, const struct word *word, double until) {
  double value = word->value ? strtod(word->value, NULL) : 0;
  return word->area + (isnan(value) ? 0 : value * (until - script->since));
}

/* A GPU's own word goes on from the one for every GPU where it was not said before. */
static double carried(const struct script *before, const char *key, double until) {
  if (!before->room) return 0;
  const struct word *word = place(before, "", key);
  const char *rest = strchr(strchr(key, '.') + 1, '.');
  if (!word->key) word = place(before, "gpu.*", rest ? rest : "");
  return word->key ? area(before, word, until) : 0;
}

static void keep(struct script *script, const struct script *before, char *key, char *value) {
  struct word *word = place(script, "", key);
  word->key = key;
  word->value = value;
  if (!strncmp(key, "hang.", 5) || !strncmp(key, "result.", 7)) script->about_calls = true;
  if (strstr(key, ".field")) script->about_fields = true;
  if (!strcmp(key, "script.still")) script->still = number(value);
  const char *metric = strstr(key, ".gpm.");
  if (!metric || strncmp(key, "gpu.", 4)) return;
  word->area = carried(before, key, script->since);
  long id = strtol(metric + strlen(".gpm."), NULL, 10);
  if (id > 0 && id < MOST_METRICS) script->measured[id] = true;
}

static struct script read_script(const char *path, const struct script *before) {
  struct script script = {0};
  int opened = open(path, O_RDONLY | O_CLOEXEC);
  if (opened < 0 || fstat(opened, &script.file)) abort();
  size_t size = (size_t)script.file.st_size;
  script.since = seconds_of(script.file.st_mtim) - loaded;
  script.text = calloc(1, size + 1);
  if (read(opened, script.text, size) != (ssize_t)size) abort();
  close(opened);
  u32 lines = 1;
  for (const char *letter = script.text; *letter; letter++) lines += *letter == '\n';
  script.room = 2 * lines + 1;
  script.words = calloc(script.room, sizeof *script.words);
  for (char *line, *rest = script.text; (line = strsep(&rest, "\n"));) {
    char *equals = strchr(line, '=');
    if (!equals) continue;
    *equals = 0;
    keep(&script, before, trimmed(line), trimmed(equals + 1));
  }
  return script;
}

bool stands_still(void) { return current.still; }

void follow_script(void) {
  if (current.still) return;
  const char *path = getenv("NVML_SCRIPT");
  struct stat now;
  if (!path || stat(path, &now)) abort();
  if (current.text && current.file.st_ino == now.st_ino && current.file.st_mtim.tv_nsec == now.st_mtim.tv_nsec &&
      current.file.st_mtim.tv_sec == now.st_mtim.tv_sec)
    return;
  struct script next = read_script(path, &current);
  free(current.text);
  free(current.words);
  current = next;
}

static struct word *found(const char *prefix, const char *key) {
  struct word *word = place(&current, prefix, key);
  return word->key ? word : NULL;
}

/* A word of a GPU, or of an instance of one: of this, of every. */
static struct word *found_of(device gpu, const char *key) {
  char prefixes[4][64];
  int count = 0, index = index_of(gpu), slot = slot_of(gpu);
  if (slot == NOBODY && 0 <= index && index < SPELT_GPUS) {
    struct word *word = found(beginnings[index], key);
    return word ? word : found("gpu.*.", key);
  }
  if (slot == NOBODY) {
    snprintf(prefixes[count++], 64, "gpu.%d.", index);
    snprintf(prefixes[count++], 64, "gpu.*.");
  } else {
    snprintf(prefixes[count++], 64, "gpu.%d.mig.%d.", index, slot);
    snprintf(prefixes[count++], 64, "gpu.%d.mig.*.", index);
    snprintf(prefixes[count++], 64, "gpu.*.mig.%d.", slot);
    snprintf(prefixes[count++], 64, "gpu.*.mig.*.");
  }
  for (int prefix = 0; prefix < count; prefix++) {
    struct word *word = found(prefixes[prefix], key);
    if (word) return word;
  }
  return NULL;
}

#define SPELT(key, format) \
  const char *key = format; \
  char spelt[160]; \
  if (strchr(format, '%')) { \
    va_list parts; \
    va_start(parts, format); \
    vsnprintf(spelt, sizeof spelt, format, parts); \
    va_end(parts); \
    key = spelt; \
  }

char *said(const char *format, ...) {
  SPELT(key, format);
  struct word *word = found("", key);
  return word ? word->value : NULL;
}

char *said_of(device gpu, const char *format, ...) {
  SPELT(key, format);
  struct word *word = found_of(gpu, key);
  return word ? word->value : NULL;
}

bool says_of_calls(void) { return current.about_calls; }

bool says_of_fields(void) { return current.about_fields; }

bool measured(u32 metric) { return metric < MOST_METRICS && current.measured[metric]; }

double area_of(device gpu, u32 metric) {
  char key[32];
  snprintf(key, sizeof key, "gpm.%u", metric);
  struct word *word = found_of(gpu, key);
  return word ? area(&current, word, seconds()) : 0;
}

long long number(const char *word) { return word ? strtoll(word, NULL, 0) : 0; }

result refused(const char *word) {
  if (!word || !strcmp(word, "N/A")) return NOT_SUPPORTED;
  return *word == '!' ? (result)number(word + 1) : SUCCESS;
}

u64 amount(const char *word) {
  char *rest;
  u64 start = *word == '-' ? (u64)strtoll(word, &rest, 0) : strtoull(word, &rest, 0);
  return *rest == '+' ? start + (u64)(strtod(rest + 1, NULL) * seconds()) : start;
}

result number_of(device gpu, u64 *answer, const char *format, ...) {
  SPELT(key, format);
  struct word *word = found_of(gpu, key);
  result refusal = refused(word ? word->value : NULL);
  if (!refusal) *answer = amount(word->value);
  return refusal;
}

result text(const char *word, char *answer, u32 room) {
  result refusal = refused(word);
  if (refusal) return refusal;
  if (strlen(word) >= room) return INSUFFICIENT_SIZE;
  strcpy(answer, word);
  return SUCCESS;
}
