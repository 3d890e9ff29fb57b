// GCC 12 says that AMX's loads read nothing, or 8 bytes: it then drops what was stored for them, and
// llama.cpp dies of a configuration that was never written. Here the loads say what they read.
#if defined(__AMX_TILE__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>

#define _tile_loadconfig(config) \
    __asm__ volatile("ldtilecfg %0" ::"m"(*(const char(*)[64])(config)) : "memory")

#undef _tile_loadd
#define _tile_loadd(tile, base, stride) PEERS_TILE_LOADD(tile, base, stride)
#define PEERS_TILE_LOADD(tile, base, stride)                     \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #tile          \
                     ::"r"((const void *)(base)), "r"((long)(stride)) \
                     : "memory")
#endif
