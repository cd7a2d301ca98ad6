/* A stand-in for the driver's library, libnvidia-ml.so.1, that answers what a script says; ../README.md tells how.
 *
 * script.c reads the script, calls.c does what every call does, and the other files hold the library's functions:
 * driver.c those of the driver as a whole, board.c those of one GPU, and fields.c, events.c, processes.c and
 * activity.c those that need more than a line each. Names and layouts are those of NVIDIA's public interface.
 */
#ifndef FAKE_H
#define FAKE_H

#include <stdbool.h>
#include <stddef.h>

typedef unsigned int u32;
typedef unsigned long long u64;
typedef void *device;
typedef int result;

enum {
  SUCCESS = 0,
  UNINITIALIZED = 1,
  INVALID_ARGUMENT = 2,
  NOT_SUPPORTED = 3,
  NOT_FOUND = 6,
  INSUFFICIENT_SIZE = 7,
  DRIVER_NOT_LOADED = 9,
  TIMEOUT = 10,
  GPU_IS_LOST = 15,
  VERSION_MISMATCH = 18,
  ARGUMENT_VERSION_MISMATCH = 25,
  GPU_NOT_FOUND = 28,
};

#define NOBODY (-1)
#define NO_INSTANCE 0xFFFFFFFFu
#define NOT_AVAILABLE 0xFFFFFFFFFFFFFFFFull
#define MOST_INSTANCES 16
#define MOST_METRICS 512

/* ---------- script.c ---------- */

/* Reads the script again if it was replaced; whatever was said before is then no longer there. */
void follow_script(void);
bool stands_still(void);
/* What the script says under a key; NULL where it says nothing. */
char *said(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same of a GPU or an instance of one: its own word goes before the one for every GPU. */
char *said_of(device gpu, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Whether any word is about calls: "hang..." or "result..."; most scripts have none. */
bool says_of_calls(void);
/* The same of words about single fields. */
bool says_of_fields(void);
/* What a number came to by now, times the seconds for which it was said. */
double area_of(device gpu, u32 metric);
/* Whether the script says anything about this GPM metric, of whatever GPU. */
bool measured(u32 metric);
double seconds(void); /* since the library was loaded */

long long number(const char *word);
result refused(const char *word); /* of a word that is missing, "N/A" or "!15" */
u64 amount(const char *word);     /* of "12", "0x1f", "-5" or "600000+69850/s", which grows */
result number_of(device gpu, u64 *answer, const char *format, ...) __attribute__((format(printf, 3, 4)));
result text(const char *word, char *answer, u32 room);

/* ---------- calls.c ---------- */

/* One call of the library; nothing is replaced in the script while it is answered. */
struct call {
  const char *function;
  int gpu, instance;
  double at;
  result answer;
};
struct call begun(const char *function, int gpu, int instance);
void ended(struct call *call);
void pause_answering(double milliseconds); /* lets other calls be answered, and reads the script again */

/* Opens every function: after it, `call.answer` is what the log will tell. */
#define CALLED(gpu, instance) __attribute__((cleanup(ended))) struct call call = begun(__func__, gpu, instance)
#define ASKED(gpu) \
  CALLED(index_of(gpu), slot_of(gpu)); \
  call.answer = refusal_of(gpu, __func__, call.answer); \
  if (call.answer) return call.answer

/* A handle is of one GPU or one instance on it, for as long as the driver stays loaded and MIG unchanged. */
device handle(int gpu);
device handle_of_instance(int gpu, int slot);
int index_of(device gpu); /* NOBODY of the driver as a whole */
int slot_of(device gpu);  /* NOBODY of a whole GPU */
bool split(int gpu);
bool instance(int gpu, int slot, u32 *gpu_instance, u32 *compute_instance);
result lost(int gpu);
result state(device gpu);
result refusal_of(device gpu, const char *function, result scripted);
int gpus(void);

/* How often this process initialised the library, and which load of the driver that was. */
struct opening {
  int times, generation;
};
extern struct opening opening;

#endif
