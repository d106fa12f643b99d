   0: r6 = r1
   1: r1 = map events
   3: r2 = 32
   4: r3 = 0
   5: call FnRingbufReserve
   6: r7 = r0
   7: if r7 == 0 goto 22
   8: *(u64 *)(r7 +0) = 7
   9: r1 = r7
  10: r1 += 8
  11: r2 = 16
  12: call FnGetCurrentComm
  13: r0 = *(u32 *)(r6 +8)
  14: r0 <<= 32
  15: r0 s>>= 32
  16: *(u64 *)(r7 +24) = r0
  17: r1 = r7
  18: r2 = 1
  19: call FnRingbufSubmit
  20: r0 = 0
  21: exit
  22: r0 = value losses +0
  24: r5 = 1
  25: Add *(u64 *)(r0 +0), r5
  26: ja goto 20
